//! Handles: numbers that are never given out twice, so that one of something destroyed is always noticed.

use crate::{
    code::Code,
    context::Context,
    event::Event,
    graph::{Executable, Graph, Node},
    memory::Pool,
    module::{Function, Module},
    stream::Stream,
};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, RwLock},
};

#[derive(Clone)]
pub enum Object {
    Context(Arc<Context>),
    Stream(Arc<Stream>),
    Event(Arc<Event>),
    Module(Arc<Module>),
    Function(Arc<Function>),
    Graph(Arc<Graph>),
    Node(Arc<Node>),
    Executable(Arc<Executable>),
    Pool(Arc<Pool>),
}

/// What can stand behind a handle.
pub trait Kind: Sized {
    fn wrap(this: Arc<Self>) -> Object;
    fn of(object: &Object) -> Option<&Arc<Self>>;
}

macro_rules! kinds {
    ($($kind:ident),*) => {$(
        impl Kind for $kind {
            fn wrap(this: Arc<Self>) -> Object { Object::$kind(this) }
            fn of(object: &Object) -> Option<&Arc<Self>> {
                match object { Object::$kind(this) => Some(this), _ => None }
            }
        }
    )*};
}
kinds!(Context, Stream, Event, Module, Function, Graph, Node, Executable, Pool);

struct Table {
    objects: HashMap<usize, Object>,
    next: usize,
}

static TABLE: LazyLock<RwLock<Table>> =
    LazyLock::new(|| RwLock::new(Table { objects: HashMap::new(), next: 0xc0da_0000 }));

fn read<T>(f: impl FnOnce(&Table) -> T) -> T {
    f(&TABLE.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn write<T>(f: impl FnOnce(&mut Table) -> T) -> T {
    f(&mut TABLE.write().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// A handle for what `make` makes of it.
pub fn insert<T: Kind>(make: impl FnOnce(usize) -> Arc<T>) -> (usize, Arc<T>) {
    let handle = write(|table| {
        table.next += 16;
        table.next
    });
    let object = make(handle);
    write(|table| table.objects.insert(handle, T::wrap(object.clone())));
    (handle, object)
}

/// What stands behind a handle.
pub fn get<T: Kind>(handle: usize) -> Result<Arc<T>, Code> {
    read(|table| table.objects.get(&handle).and_then(T::of).cloned()).ok_or(Code::INVALID_HANDLE)
}

/// Takes a handle out of use.
pub fn remove<T: Kind>(handle: usize) -> Result<Arc<T>, Code> {
    get::<T>(handle)?;
    match write(|table| table.objects.remove(&handle)) {
        Some(object) => T::of(&object).cloned().ok_or(Code::INVALID_HANDLE),
        None => Err(Code::INVALID_HANDLE),
    }
}

/// Takes every handle out of use whose object `gone` names.
pub fn sweep(gone: impl Fn(&Object) -> bool) -> Vec<Object> {
    write(|table| {
        let handles: Vec<usize> = table.objects.iter().filter(|(_, o)| gone(o)).map(|(h, _)| *h).collect();
        handles.iter().filter_map(|handle| table.objects.remove(handle)).collect()
    })
}

/// The words of [`live`].
pub const KINDS: [&str; 6] = ["contexts", "streams", "events", "modules", "graphs", "executables"];

/// How many of a kind live.
pub fn live(kind: &str) -> Option<i64> {
    let is: fn(&Object) -> bool = match kind {
        "contexts" => |o| matches!(o, Object::Context(_)),
        "streams" => |o| matches!(o, Object::Stream(_)),
        "events" => |o| matches!(o, Object::Event(_)),
        "modules" => |o| matches!(o, Object::Module(_)),
        "graphs" => |o| matches!(o, Object::Graph(_)),
        "executables" => |o| matches!(o, Object::Executable(_)),
        _ => return None,
    };
    Some(read(|table| table.objects.values().filter(|o| is(o)).count()) as i64)
}
