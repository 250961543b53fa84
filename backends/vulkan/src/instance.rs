//! The connection to the Vulkan loader: made once in a process and kept to its end, since drivers start threads that do
//! not survive being unloaded. Also what the validation layer says, where it was asked for.

use crate::{NAME, device::lock};
use anychip_hal::{Error, Result};
use ash::{ext, khr, vk};
use std::{
    ffi::{CStr, c_char, c_void},
    sync::{Mutex, PoisonError},
};

/// The newest version that this backend knows; devices of 1.1 and up are used.
pub const VERSION: u32 = vk::API_VERSION_1_3;

/// The Vulkan loader and what it loaded.
pub struct Instance {
    pub raw: ash::Instance,
    entry: ash::Entry,
}

/// Loaded once; a failure is tried again, since a driver may have been installed meanwhile.
static OPENED: Mutex<Option<&'static Instance>> = Mutex::new(None);
/// What the validation layer said.
static MESSAGES: Mutex<Vec<String>> = Mutex::new(vec![]);

const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

fn no_driver(why: impl Into<String>) -> Error {
    Error::NoDriver { backend: NAME.into(), why: why.into() }
}

impl Instance {
    /// The process's instance.
    pub fn get() -> Result<&'static Instance> {
        let mut opened = lock(&OPENED);
        if let Some(instance) = *opened {
            return Ok(instance);
        }
        let instance: &'static Instance = Box::leak(Box::new(Instance::open()?));
        *opened = Some(instance);
        Ok(instance)
    }

    fn open() -> Result<Instance> {
        // SAFETY: the loader's own initialisers are trusted like those of any linked library.
        let entry = unsafe { ash::Entry::load() }.map_err(|e| {
            no_driver(format!("the Vulkan loader (libvulkan.so.1, vulkan-1.dll) cannot be loaded: {e}"))
        })?;
        // SAFETY: here and below: calls of the loader that was just loaded, with structures that live until they return.
        let version = unsafe { entry.try_enumerate_instance_version() }.ok().flatten().unwrap_or(vk::API_VERSION_1_0);
        if version < vk::API_VERSION_1_1 {
            return Err(no_driver("the Vulkan loader is of version 1.0; 1.1 is needed"));
        }
        let offered = unsafe { entry.enumerate_instance_extension_properties(None) }.unwrap_or_default();
        let has = |name: &CStr| offered.iter().any(|e| e.extension_name_as_c_str() == Ok(name));

        let mut extensions: Vec<*const c_char> = vec![];
        let mut flags = vk::InstanceCreateFlags::empty();
        // Metal's Vulkan is shown only to those who ask for it.
        if has(khr::portability_enumeration::NAME) {
            extensions.push(khr::portability_enumeration::NAME.as_ptr());
            flags |= vk::InstanceCreateFlags::ENUMERATE_PORTABILITY_KHR;
        }
        let asked = std::env::var("ANYCHIP_VULKAN_VALIDATION").unwrap_or_default();
        let asked = asked.trim();
        let validation = !asked.is_empty() && asked != "0";
        if validation && !validation_is_there(&entry) {
            return Err(no_driver(
                "ANYCHIP_VULKAN_VALIDATION is set, but the validation layer is not installed; install it, e.g. \
                 vulkan-validationlayers, or unset the variable",
            ));
        }
        let mut layers: Vec<*const c_char> = vec![];
        if validation {
            layers.push(LAYER.as_ptr());
            extensions.push(ext::debug_utils::NAME.as_ptr());
            extensions.push(ext::validation_features::NAME.as_ptr());
        }
        let application = vk::ApplicationInfo::default().engine_name(c"anychip").api_version(VERSION);
        let enables = [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];
        let mut more = vk::ValidationFeaturesEXT::default().enabled_validation_features(&enables);
        let mut info = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .flags(flags)
            .enabled_extension_names(&extensions)
            .enabled_layer_names(&layers);
        if validation && asked == "sync" {
            info = info.push_next(&mut more);
        }
        let raw = unsafe { entry.create_instance(&info, None) }.map_err(|code| {
            no_driver(match code {
                vk::Result::ERROR_INCOMPATIBLE_DRIVER => {
                    "the Vulkan loader is there, but no driver; install one, e.g. mesa-vulkan-drivers".to_string()
                }
                code => format!("vkCreateInstance: {code}"),
            })
        })?;
        if validation {
            listen(&entry, &raw);
        }
        Ok(Instance { raw, entry })
    }

    /// The loader's own functions.
    pub fn entry(&self) -> &ash::Entry {
        &self.entry
    }

    /// Every device, in the loader's order. `NoDriver` says what is missing when there is none.
    pub fn devices(&self) -> Result<Vec<vk::PhysicalDevice>> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = lock(&ONE_AT_A_TIME);
        // SAFETY: the instance lives as long as the process.
        let found = unsafe { self.raw.enumerate_physical_devices() }
            .map_err(|code| no_driver(format!("vkEnumeratePhysicalDevices: {code}")))?;
        if found.is_empty() {
            return Err(no_driver("no Vulkan driver offers a device; install one, e.g. mesa-vulkan-drivers"));
        }
        Ok(found)
    }
}

fn validation_is_there(entry: &ash::Entry) -> bool {
    // SAFETY: a question to the loader.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap_or_default();
    layers.iter().any(|l| l.layer_name_as_c_str() == Ok(LAYER))
}

/// Listens to the validation layer until the process ends.
fn listen(entry: &ash::Entry, instance: &ash::Instance) {
    type Severity = vk::DebugUtilsMessageSeverityFlagsEXT;
    let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(Severity::WARNING | Severity::ERROR)
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(heard));
    // SAFETY: the callback is a function of this program and touches only a static.
    let made = unsafe { ext::debug_utils::Instance::new(entry, instance).create_debug_utils_messenger(&info, None) };
    if let Err(code) = made {
        let message = format!("vkCreateDebugUtilsMessengerEXT: {code}");
        MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }
}

unsafe extern "system" fn heard(
    _severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _kind: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    _user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the layer gives a valid structure for the time of the call.
    let text = unsafe { data.as_ref() }.filter(|d| !d.p_message.is_null()).map(|d| {
        // SAFETY: not null, and by the specification a text that ends with a zero.
        unsafe { CStr::from_ptr(d.p_message) }.to_string_lossy().into_owned()
    });
    let text = text.unwrap_or_default();
    if !crate::quirks::mistaken(&text) {
        eprintln!("anychip: validation: {text}");
        MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
    vk::FALSE
}

/// Fails from the first message of the validation layer on.
pub fn validated() -> Result<()> {
    match lock(&MESSAGES).first() {
        None => Ok(()),
        Some(m) => Err(Error::Backend { backend: NAME.into(), code: 0, message: format!("the validation layer: {m}") }),
    }
}
