//! Another process touches a driver: how it is asked, and what it answers.
//!
//! It is run as `program [arguments] probe TARGET` and writes `anychip-probe begin` before it touches anything, then one of
//! `anychip-probe fine` (it may be touched; after `but` stands what error it gave), `anychip-probe wrong <why>` and
//! `anychip-probe none <why>` (there is no such target), and ends with code 0. Whatever else stands around that, drivers wrote.

use super::{HELPER_VARIABLE, LIMIT_VARIABLE, Outcome, kernel};
use crate::{Device, Driver, Error, Result, device::Layers};
use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How long one probing may take, where nobody says otherwise.
const LIMIT: Duration = Duration::from_secs(10);
/// What an answer begins with.
const MARK: &str = "anychip-probe ";
/// Bytes at the end of an output that are looked at.
const TAIL: u64 = 64 << 10;

/// A program that touches drivers in this one's stead; it is run as `program [arguments] probe DRIVER[:ORDINAL]` and calls
/// [`Registry::answer_probe`](crate::Registry::answer_probe).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    program: PathBuf,
    arguments: Vec<OsString>,
    limit: Option<Duration>,
}

/// What a helper's end says.
pub enum Answer {
    /// For the record.
    Lasting(Outcome),
    /// For this process; with a reason not to touch the target.
    Passing(Option<String>),
}

impl Helper {
    /// A program.
    pub fn new(program: impl Into<PathBuf>) -> Helper {
        Helper { program: program.into(), arguments: vec![], limit: None }
    }

    /// The program that this process runs.
    ///
    /// # Errors
    /// What the system says when it does not know.
    pub fn this_program() -> Result<Helper> {
        env::current_exe().map(Helper::new).map_err(|e| Error::io("the path of this program", &e))
    }

    /// With an argument that stands before `probe`.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Helper {
        self.arguments.push(argument.into());
        self
    }

    /// With this much time for each target; else it is what `ANYCHIP_PROBE_SECONDS` says, or 10 seconds.
    pub fn limit(mut self, limit: Duration) -> Helper {
        self.limit = Some(limit);
        self
    }

    /// Has a target touched.
    pub(super) fn ask(&self, target: &str) -> Answer {
        let limit = self.limit.unwrap_or_else(limit);
        match self.run(target, limit) {
            Ok((end, out, err)) => judge(&self.program.display().to_string(), end, &out, &err, limit),
            Err(e) => {
                Answer::Passing(Some(useless(&self.program.display().to_string(), &format!("cannot be run: {e}"))))
            }
        }
    }

    /// How it ended, `None` if it had to be killed, and what it wrote.
    fn run(&self, target: &str, limit: Duration) -> io::Result<(Option<ExitStatus>, String, String)> {
        // Files, not pipes: a process that a driver started may hold a pipe open for ever.
        let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args(["probe", target])
            // The helper's own registry asks nobody.
            .env(HELPER_VARIABLE, "off")
            .env(LIMIT_VARIABLE, limit.as_secs_f64().to_string())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(err.try_clone()?)
            .spawn()?;
        let end = match wait(&mut child, limit)? {
            Some(end) => Some(end),
            None => {
                child.kill()?;
                // One that the system cannot stop now is left to it.
                wait(&mut child, Duration::from_secs(2))?;
                None
            }
        };
        Ok((end, tail(&mut out)?, tail(&mut err)?))
    }
}

/// Waits so long for a process.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        let end = child.try_wait()?;
        if end.is_some() || begin.elapsed() >= limit {
            return Ok(end);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn tail(file: &mut File) -> io::Result<String> {
    let bytes = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL)))?;
    let mut text = vec![];
    file.take(TAIL).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn limit() -> Duration {
    let asked = env::var(LIMIT_VARIABLE).ok().and_then(|v| v.trim().parse::<f64>().ok());
    asked.filter(|s| *s > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(LIMIT)
}

fn useless(program: &str, how: &str) -> String {
    format!(
        "it is not touched before it was probed, and the probe helper {program} {how}; {HELPER_VARIABLE}=off does without"
    )
}

/// What the end of a helper and its output say.
fn judge(program: &str, end: Option<ExitStatus>, out: &str, err: &str, limit: Duration) -> Answer {
    let answers: Vec<&str> = out.match_indices(MARK).map(|(at, _)| rest_of_line(&out[at + MARK.len()..])).collect();
    if answers.first() != Some(&"begin") {
        let how = match end {
            Some(end) => format!("ended with {} before it began", ending(end).0),
            None => format!("did not begin within {limit:?}"),
        };
        return Answer::Passing(Some(useless(program, &how)));
    }
    let Some(end) = end else { return Answer::Lasting(Outcome::Hung { limit }) };
    if !end.success() {
        let (how, from_outside) = ending(end);
        // The last words: what an assertion or a runtime says before it gives up.
        let said = err.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
        let said = said.chars().filter(|c| !c.is_control()).take(200).collect();
        return match from_outside {
            true => Answer::Passing(Some(format!("probing it was ended from outside ({how})"))),
            false => Answer::Lasting(Outcome::Died { how, said }),
        };
    }
    let last = answers.last().copied().unwrap_or_default();
    match last.split_once(' ').unwrap_or((last, "")) {
        ("fine", _) => Answer::Lasting(Outcome::Fine),
        ("wrong", why) => Answer::Lasting(Outcome::Wrong { why: why.to_string() }),
        // What it is asked for next says what there is.
        ("none", _) => Answer::Passing(None),
        // It was ended in an orderly way while a driver was at work: `exit(0)` in a driver.
        _ => Answer::Lasting(Outcome::Died { how: "exit code 0".into(), said: "before it had an answer".into() }),
    }
}

fn rest_of_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end()
}

/// An end in words, and whether someone else than the process brought it about.
#[cfg(unix)]
fn ending(end: ExitStatus) -> (String, bool) {
    use std::os::unix::process::ExitStatusExt;
    let Some(signal) = end.signal() else { return (code(end), false) };
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 if linux => "SIGBUS",
        10 if !linux => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        31 if linux => "SIGSYS",
        12 if !linux => "SIGSYS",
        _ => return (format!("signal {signal}"), false),
    };
    (name.to_string(), matches!(signal, 1 | 2 | 3 | 9 | 15))
}

#[cfg(not(unix))]
fn ending(end: ExitStatus) -> (String, bool) {
    (code(end), false)
}

fn code(end: ExitStatus) -> String {
    match end.code() {
        // Windows: the number of an exception.
        Some(code) if !(0..256).contains(&code) => format!("exit code {code:#x}"),
        Some(code) => format!("exit code {code}"),
        None => "no exit code".into(),
    }
}

/// The helper's side: touches a target and writes what came of it.
pub fn answer(drivers: &[Arc<dyn Driver>], target: &str, to: &mut impl Write) -> io::Result<()> {
    let (name, ordinal) = match target.split_once(':') {
        None => (target, None),
        Some((name, ordinal)) => (name, Some(ordinal.parse::<u32>())),
    };
    // On a line of its own, whatever stands before it.
    let mut say = |what: &str| {
        let line: String = what.replace(['\n', '\r'], " ").chars().take(1000).collect();
        writeln!(to, "\n{MARK}{line}")?;
        to.flush()
    };
    say("begin")?;
    let Some(driver) = drivers.iter().find(|d| d.name().eq_ignore_ascii_case(name)) else {
        return say(&format!("none no backend has the name {name:?}"));
    };
    end_by_itself();
    match ordinal {
        None => {
            // That there is none, and why, is an answer too.
            let _ = driver.devices();
            say("fine")
        }
        Some(Err(_)) => say(&format!("none {target:?} has no number after the colon")),
        Some(Ok(n)) => match driver.open(n) {
            Err(Error::NoDevice { why, .. }) => say(&format!("none {why}")),
            Err(e) => say(&format!("fine but it does not open: {e}")),
            // Without the cache on disk: what the driver compiles now is what is asked about.
            Ok(raw) => match kernel::run(&Device::with_layers(raw, &Layers::default())) {
                Ok(None) => say("fine"),
                Ok(Some(why)) => say(&format!("wrong {why}")),
                Err(Error::DeviceLost { why, .. }) => say(&format!("wrong the device was lost: {why}")),
                // Every other error is one that the next caller gets as well, and survives.
                Err(e) => say(&format!("fine but the kernel does not run: {e}")),
            },
        },
    }
}

/// A helper whose parent was killed must not hang for ever.
fn end_by_itself() {
    let limit = limit() + Duration::from_secs(5);
    let _ = thread::Builder::new().name("anychip-probe".into()).spawn(move || {
        thread::sleep(limit);
        std::process::abort();
    });
}
