//! What a driver is made of: files and environment variables whose change voids what probing it ended with.
//!
//! Names and folders are those of the Khronos loaders: a manifest (`.json` for Vulkan, `.icd` for OpenCL) names a library, by
//! its path, by a path relative to the manifest, or by a name that the system's loader looks up.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// What a driver is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Files and folders, there or not.
    files: BTreeSet<PathBuf>,
    /// Names of environment variables; one that ends in `*` stands for all with that beginning.
    variables: BTreeSet<String>,
}

impl Installed {
    /// Nothing yet.
    pub fn new() -> Installed {
        Installed::default()
    }

    /// With a file or folder, whether it is there or not.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Installed {
        self.files.insert(path.into());
        self
    }

    /// With a library as a manifest or a program names it. `beside`: the manifest.
    pub fn library(mut self, name: &str, beside: Option<&Path>) -> Installed {
        let path = Path::new(name);
        let found = match path.components().count() {
            0 => return self,
            1 => look_up(path),
            _ => beside.and_then(Path::parent).map_or(path.into(), |folder| folder.join(path)),
        };
        self.files.insert(found);
        self
    }

    /// With environment variables; a name that ends in `*` stands for all with that beginning.
    pub fn variables(mut self, names: &[&str]) -> Installed {
        self.variables.extend(names.iter().map(|n| n.to_string()));
        self
    }

    /// With everything of another.
    pub fn and(mut self, other: Installed) -> Installed {
        self.files.extend(other.files);
        self.variables.extend(other.variables);
        self
    }

    /// With the manifests in a folder, which end in `.extension`, or one manifest, and the libraries that they name:
    /// `library` finds the name in a manifest's text.
    pub fn manifests(mut self, place: &Path, extension: &str, library: impl Fn(&str) -> Option<String>) -> Installed {
        self.files.insert(place.into());
        let inside = fs::read_dir(place).map(|list| list.filter_map(|e| Some(e.ok()?.path())).collect());
        let mut manifests: Vec<PathBuf> = inside.unwrap_or_else(|_| vec![place.into()]);
        manifests.retain(|m| m.extension().is_some_and(|e| e == extension));
        for manifest in manifests {
            let named = fs::read_to_string(&manifest).ok().and_then(|text| library(&text));
            self = match named {
                Some(name) => self.library(&name, Some(&manifest)),
                None => self,
            };
            self.files.insert(manifest);
        }
        self
    }

    /// The Vulkan loader, the drivers that it finds and the layers that it puts on them unasked.
    pub fn vulkan() -> Installed {
        let json = |text: &str| -> Option<String> {
            let manifest: serde_json::Value = serde_json::from_str(text).ok()?;
            let of = |part: &str| Some(manifest.get(part)?.get("library_path")?.as_str()?.to_string());
            of("ICD").or_else(|| of("layer"))
        };
        let listed = |name: &str| env::var_os(name).filter(|v| !v.is_empty());
        let mut all = Installed::new().system().variables(&[
            "VK_*",
            "MESA_*",
            "LP_*",
            "XDG_CONFIG_*",
            "XDG_DATA_*",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
        ]);
        let loader = if cfg!(target_os = "macos") { "libvulkan.1.dylib" } else { "libvulkan.so.1" };
        all = all.library(loader, None);
        let instead = listed("VK_DRIVER_FILES").or_else(|| listed("VK_ICD_FILENAMES"));
        let more = listed("VK_ADD_DRIVER_FILES");
        for place in [&instead, &more].into_iter().flatten().flat_map(env::split_paths) {
            all = all.manifests(&place, "json", json);
        }
        for folder in vulkan_folders() {
            if instead.is_none() {
                all = all.manifests(&folder.join("icd.d"), "json", json);
            }
            all = all.manifests(&folder.join("implicit_layer.d"), "json", json);
        }
        all
    }

    /// What changes when the system's drivers do, where manifests are no files.
    pub fn system(self) -> Installed {
        if cfg!(windows) {
            let root = env::var_os("SystemRoot").map_or("C:\\Windows".into(), PathBuf::from).join("System32");
            return self.file(root.join("DriverStore").join("FileRepository")).file(root.join("vulkan-1.dll"));
        }
        if cfg!(target_os = "macos") {
            return self.file("/System/Library/CoreServices/SystemVersion.plist");
        }
        self
    }

    /// All of it in words, with what it now is: two texts are equal when nothing changed.
    pub(super) fn key(&self, driver: &str) -> String {
        let mut text = format!(
            "anychip {} on {} {}, driver {driver}\n",
            env!("CARGO_PKG_VERSION"),
            env::consts::OS,
            env::consts::ARCH
        );
        let asked = |name: &str| {
            self.variables.iter().any(|v| match v.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => v == name,
            })
        };
        let set: BTreeSet<(OsString, OsString)> =
            env::vars_os().filter(|(name, _)| name.to_str().is_some_and(asked)).collect();
        for (name, value) in set {
            let _ = writeln!(text, "{}={value:?}", name.display());
        }
        for path in &self.files {
            let is = match fs::metadata(path) {
                Err(_) => "not there".to_string(),
                Ok(meta) => {
                    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
                    format!("{} bytes, {}", meta.len(), changed.unwrap_or_default().as_nanos())
                }
            };
            let _ = writeln!(text, "{}: {is}", path.display());
        }
        text
    }
}

/// Where the Vulkan loader looks for `icd.d` and `implicit_layer.d`.
fn vulkan_folders() -> Vec<PathBuf> {
    let home = env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from);
    let places = |name: &str, or: &[&str], in_home: Option<&str>| -> Vec<PathBuf> {
        match env::var_os(name).filter(|v| !v.is_empty()) {
            Some(list) => env::split_paths(&list).collect(),
            None => {
                let own = in_home.and_then(|below| Some(home.as_ref()?.join(below)));
                own.into_iter().chain(or.iter().map(PathBuf::from)).collect()
            }
        }
    };
    let mut all = places("XDG_CONFIG_HOME", &[], Some(".config"));
    all.extend(places("XDG_CONFIG_DIRS", &["/etc/xdg"], None));
    all.extend(["/usr/local/etc", "/etc"].map(PathBuf::from));
    all.extend(places("XDG_DATA_HOME", &[], Some(".local/share")));
    all.extend(places("XDG_DATA_DIRS", &["/usr/local/share", "/usr/share"], None));
    all.into_iter().map(|folder| folder.join("vulkan")).collect()
}

/// A library's file, by the rules of the system's loader as far as they can be read from files; else its bare name.
fn look_up(name: &Path) -> PathBuf {
    let mut folders: Vec<PathBuf> =
        env::var_os("LD_LIBRARY_PATH").map(|list| env::split_paths(&list).collect()).unwrap_or_default();
    for list in fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten() {
        let text = fs::read_to_string(list.path()).unwrap_or_default();
        folders.extend(text.lines().map(str::trim).filter(|l| l.starts_with('/')).map(PathBuf::from));
    }
    folders.extend(
        ["/usr/local/lib", "/usr/lib64", "/lib64", "/usr/lib", "/lib", "/run/opengl-driver/lib", "/opt/homebrew/lib"]
            .map(PathBuf::from),
    );
    folders.into_iter().map(|f| f.join(name)).find(|p| p.exists()).unwrap_or_else(|| name.into())
}
