//! Known defects of drivers: data, a row each. A backend has the table and its effects; what a row means is the backend's business.

use crate::info::Identity;

/// A row: what is done about a defect, with the defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirk<E: 'static> {
    /// The driver's name, as the backend's identities have it.
    pub driver: &'static str,
    /// Beginnings of the driver versions that have the defect; empty: all.
    pub versions: &'static [&'static str],
    /// What is done about it.
    pub effect: E,
    /// The defect, for whoever wants to know whether the row may go.
    pub why: &'static str,
}

/// True when a row with this effect names the driver.
pub fn applies<E: PartialEq>(rows: &[Quirk<E>], effect: E, of: &Identity) -> bool {
    rows.iter().any(|q| {
        q.effect == effect
            && q.driver == of.driver
            && (q.versions.is_empty() || q.versions.iter().any(|v| of.version.starts_with(v)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_driver_and_versions() {
        let row = |driver, versions| [Quirk { driver, versions, effect: 1, why: "a test" }];
        let of = Identity::new("vendor", "chip", "driver", "22.3", "id");
        assert!(applies(&row("driver", &[]), 1, &of));
        assert!(applies(&row("driver", &["21.", "22."]), 1, &of));
        assert!(!applies(&row("driver", &["23."]), 1, &of));
        assert!(!applies(&row("drive", &[]), 1, &of));
        assert!(!applies(&row("driver", &[]), 2, &of));
    }
}
