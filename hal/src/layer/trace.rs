//! Trace: what was submitted and when it ran, as a file that Chrome's `about:tracing` and Perfetto open.
//!
//! The file is valid JSON after every write, so that a process which ends without closing its devices leaves a whole one.
//! Device times are moved to the host's clock by the tightest observation of a completion.

use super::{forward, lock};
use crate::{
    Command, Completion, Loaded, Module, RawDevice, RawList, RawProgram, Result, Span, Submission, Ticket, Work,
};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

/// The host's thread in the trace; devices follow.
const HOST: u32 = 0;

/// Records the commands of a device.
pub struct Trace {
    inner: Arc<dyn RawDevice>,
    file: Arc<Mutex<TraceFile>>,
    track: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    programs: FxHashMap<RawProgram, String>,
    lists: FxHashMap<RawList, Vec<String>>,
    open: FxHashMap<Ticket, Open>,
    /// Host minus device time in nanoseconds, the smallest seen.
    skew: Option<i128>,
}

struct Open {
    names: Vec<String>,
    submitted: u64,
    asked: bool,
}

/// One file per path and process, whichever devices write to it.
struct TraceFile {
    file: File,
    begin: Instant,
    tracks: u32,
    empty: bool,
}

impl TraceFile {
    fn shared(path: &Path) -> io::Result<Arc<Mutex<TraceFile>>> {
        static OPEN: OnceLock<Mutex<BTreeMap<PathBuf, Arc<Mutex<TraceFile>>>>> = OnceLock::new();
        let mut open = lock(OPEN.get_or_init(Mutex::default));
        if let Some(file) = open.get(path) {
            return Ok(file.clone());
        }
        let mut file = File::create(path)?;
        file.write_all(b"[\n]")?;
        let shared = Arc::new(Mutex::new(TraceFile { file, begin: Instant::now(), tracks: HOST, empty: true }));
        open.insert(path.to_path_buf(), shared.clone());
        Ok(shared)
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Appends events over the closing bracket and closes again.
    fn write(&mut self, events: &[Value]) -> io::Result<()> {
        let mut text = String::new();
        for event in events {
            text.push_str(if std::mem::take(&mut self.empty) { "" } else { ",\n" });
            text.push_str(&event.to_string());
        }
        text.push_str("\n]");
        self.file.seek(SeekFrom::End(-2))?;
        self.file.write_all(text.as_bytes())
    }
}

/// A complete event; times in nanoseconds since the trace began.
fn event(name: &str, track: u32, begin: u64, end: u64, args: Value) -> Value {
    let us = |ns: u64| ns as f64 / 1000.0;
    json!({
        "name": name, "ph": "X", "pid": 1, "tid": track, "ts": us(begin), "dur": us(end.saturating_sub(begin)),
        "args": args,
    })
}

fn track_name(track: u32, name: &str) -> Value {
    json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": track, "args": {"name": name}})
}

impl Trace {
    /// Wraps a device and begins, or joins, the trace file of this process.
    pub fn new(inner: Arc<dyn RawDevice>, path: &Path) -> io::Result<Trace> {
        let file = TraceFile::shared(path)?;
        let track = {
            let mut f = lock(&file);
            if f.tracks == HOST {
                f.write(&[track_name(HOST, "host")])?;
            }
            f.tracks += 1;
            let (track, info) = (f.tracks, inner.info());
            f.write(&[track_name(track, &format!("{} {}", info.id, info.identity.name))])?;
            track
        };
        Ok(Trace { inner, file, track, state: Mutex::default() })
    }

    fn now(&self) -> u64 {
        lock(&self.file).now()
    }

    /// A trace that cannot be written (a full disk) must not stop the work.
    fn put(&self, events: &[Value]) {
        let _ = lock(&self.file).write(events);
    }

    fn names(&self, commands: &[Command]) -> Vec<String> {
        let s = lock(&self.state);
        let name = |c: &Command| match c {
            Command::Copy { src, .. } => format!("copy {} bytes", src.bytes),
            Command::Fill { dst, .. } => format!("fill {} bytes", dst.bytes),
            Command::Launch { program, groups, .. } => {
                let name = s.programs.get(program).map_or("?", String::as_str);
                format!("{name} {}x{}x{}", groups[0], groups[1], groups[2])
            }
        };
        commands.iter().map(name).collect()
    }

    fn finished(&self, ticket: Ticket, spans: &[Span]) -> bool {
        let now = self.now();
        let mut events = Vec::new();
        let asked = {
            let mut s = lock(&self.state);
            let Some(open) = s.open.remove(&ticket) else { return true };
            if spans.len() == open.names.len()
                && let Some(last) = spans.iter().map(|s| s.end).max()
            {
                let seen = i128::from(now) - i128::from(last);
                let skew = s.skew.map_or(seen, |old| old.min(seen));
                s.skew = Some(skew);
                let host = |t: u64| u64::try_from(i128::from(t) + skew).unwrap_or(0);
                for (name, span) in open.names.iter().zip(spans) {
                    let args = json!({"ticket": ticket.value});
                    events.push(event(name, self.track, host(span.begin), host(span.end), args));
                }
            } else {
                // Without a clock only the whole is known: from submission to when its end was seen.
                let args = json!({"ticket": ticket.value, "commands": open.names});
                let name = open.names.first().map_or("work", String::as_str);
                events.push(event(name, self.track, open.submitted, now, args));
            }
            open.asked
        };
        self.put(&events);
        asked
    }
}

impl RawDevice for Trace {
    forward!(info, alloc, free, host_write, host_read, accepts, binary, notify, expose, fetch, trim);

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let begin = self.now();
        let loaded = self.inner.load(module, cached);
        let name = format!("load {}", module.name());
        self.put(&[event(&name, HOST, begin, self.now(), json!({"device": self.info().id, "ok": loaded.is_ok()}))]);
        let loaded = loaded?;
        lock(&self.state).programs.insert(loaded.program, module.name().to_string());
        Ok(loaded)
    }

    fn unload(&self, program: RawProgram) {
        lock(&self.state).programs.remove(&program);
        self.inner.unload(program)
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let list = self.inner.record(commands)?;
        let names = self.names(commands);
        lock(&self.state).lists.insert(list, names);
        Ok(list)
    }

    fn release(&self, list: RawList) {
        lock(&self.state).lists.remove(&list);
        self.inner.release(list)
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let names = match work.work {
            Work::Commands(commands) => self.names(commands),
            Work::List(list) => lock(&self.state).lists.get(&list).cloned().unwrap_or_default(),
        };
        let begin = self.now();
        // Held over the call: another thread may see the end before this one has written down the begin.
        let mut s = lock(&self.state);
        let ticket = self.inner.submit(&Submission { profile: true, ..*work })?;
        let args = json!({"device": self.info().id, "ticket": ticket.value, "commands": names.len()});
        s.open.insert(ticket, Open { names, submitted: begin, asked: work.profile });
        drop(s);
        self.put(&[event("submit", HOST, begin, self.now(), args)]);
        Ok(ticket)
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let end = self.inner.wait(ticket, timeout).inspect_err(|_| {
            lock(&self.state).open.remove(&ticket);
        });
        let Some(mut done) = end? else { return Ok(None) };
        if !self.finished(ticket, &done.spans) {
            // The spans were asked for here and not above.
            done.spans.clear();
        }
        Ok(Some(done))
    }
}
