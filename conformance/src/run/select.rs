//! Which cases are run: by level, by pattern.

use crate::Case;
use glob::Pattern;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Cases of this level and those below.
    pub level: Option<u8>,
    /// Ids that match one of these patterns; `*` crosses slashes. None: all.
    pub patterns: Vec<Pattern>,
}

impl Selection {
    /// From text: patterns separated by commas. An id is a pattern that matches itself; what ends with a slash matches all below.
    ///
    /// # Errors
    /// A sentence about a pattern that is none.
    pub fn new(level: Option<u8>, filter: Option<&str>) -> Result<Selection, String> {
        let parts = filter.into_iter().flat_map(|f| f.split(',')).map(str::trim).filter(|p| !p.is_empty());
        let pattern = |p: &str| {
            let all = if p.ends_with('/') { format!("{p}*") } else { p.to_string() };
            Pattern::new(&all)
                .map_err(|e| format!("filter {p:?}: {e}; accepted are patterns such as core/unary/*/f32/*"))
        };
        Ok(Selection { level, patterns: parts.map(pattern).collect::<Result<_, _>>()? })
    }

    /// All of a level is asked for, not only what matches a pattern.
    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Is a case of this id and level asked for?
    pub fn takes(&self, id: &str, level: u8) -> bool {
        self.level.is_none_or(|l| level <= l)
            && (self.patterns.is_empty() || self.patterns.iter().any(|p| p.matches(id)))
    }
}

/// The cases that are asked for, in the order of the suite; what soaks comes last.
pub fn select(all: Vec<Case>, by: &Selection) -> Vec<Case> {
    let mut some: Vec<Case> = all.into_iter().filter(|c| by.takes(&c.id, c.level)).collect();
    some.sort_by_key(|c| c.soaks);
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cross_slashes_and_levels_are_cumulative() {
        let case = |id: &str| Case::new(id, "x", None, "one", |_, _, _| Ok(()));
        let all = || {
            vec![
                case("runtime/a/b"),
                case("core/unary/exp/f32/one"),
                case("inference/conv/x").soaking(),
                case("system/z"),
            ]
        };
        let ids = |level, filter| -> Vec<String> {
            select(all(), &Selection::new(level, filter).unwrap()).into_iter().map(|c| c.id).collect()
        };
        assert_eq!(ids(None, None), ["runtime/a/b", "core/unary/exp/f32/one", "system/z", "inference/conv/x"]);
        assert_eq!(ids(Some(1), None), ["runtime/a/b", "core/unary/exp/f32/one"]);
        assert_eq!(ids(None, Some("core/*/one, system/z")), ["core/unary/exp/f32/one", "system/z"]);
        assert_eq!(ids(None, Some("runtime/")), ["runtime/a/b"]);
        assert!(ids(Some(0), Some("core/*")).is_empty());
        assert!(Selection::new(None, Some("[")).unwrap_err().contains("accepted"));
    }
}
