//! The parent: starts children, asks them for cases, ends those that hang, and goes on after those that died.

use super::{
    Environment, Outcome, Peaks, Verdict,
    child::{Answer, Ask, MARK},
};
use crate::Case;
use anychip::hal::DeviceInfo;
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// Cases of one child: then a fresh one goes on, so that what a driver loses piles up no further.
const SHARD: usize = 500;
/// Time to open the device.
const OPENING: Duration = Duration::from_secs(60);
/// Time for the peaks, or for hashing a driver.
const MEASURING: Duration = Duration::from_secs(120);
/// How often a child may fail to open the device before the run is over.
const ATTEMPTS: usize = 3;
/// What is read of a child's last words.
const TAIL: u64 = 16 << 10;

/// The program that runs cases: it calls [`serve`](super::serve) when it is run so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

/// What holds for a whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The device, as the child opens it.
    pub device: String,
    /// The seed of all inputs.
    pub seed: u64,
    /// How long a case soaks that does.
    pub soak: Duration,
    /// How long a case may take, soaking aside.
    pub limit: Duration,
    /// Children at a time.
    pub jobs: usize,
}

impl Settings {
    /// A device, seed 0, an hour of soaking, two minutes for a case (a cold kernel may take seconds), one child.
    pub fn new(device: impl Into<String>) -> Settings {
        let soak = crate::subject::SOAK;
        Settings { device: device.into(), seed: 0, soak, limit: Duration::from_secs(120), jobs: 1 }
    }
}

/// What the parent tells while cases run.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A case begins.
    Begins(&'a str),
    /// A case ended.
    Ended(&'a Outcome),
}

impl Host {
    /// A program.
    pub fn new(program: impl Into<PathBuf>) -> Host {
        Host { program: program.into(), arguments: vec![], variables: vec![] }
    }

    /// The program that this process runs.
    ///
    /// # Errors
    /// What the system says when it does not know.
    pub fn this_program() -> io::Result<Host> {
        std::env::current_exe().map(Host::new)
    }

    /// With an argument.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Host {
        self.arguments.push(argument.into());
        self
    }

    /// With a variable.
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Host {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The device as a child of its own sees it, and what its driver is made of.
    ///
    /// # Errors
    /// A sentence: the device does not open.
    pub fn inspect(&self, settings: &Settings) -> Result<(DeviceInfo, Environment), String> {
        let mut worker = Worker::start(self, settings)?;
        match worker.ask(&Ask::Environment { limit: MEASURING.as_secs_f64() }, MEASURING) {
            End::Answer(Answer::Environment(e)) => match worker.info.take() {
                Some(info) => Ok((*info, e)),
                None => Err("the device is not open".into()),
            },
            end => Err(format!("what the driver is made of: {}", end.words())),
        }
    }

    /// The device's peaks and the time of some operations, measured in a child.
    ///
    /// # Errors
    /// Why there are none.
    pub fn peaks(&self, settings: &Settings) -> Result<Peaks, String> {
        let mut worker = Worker::start(self, settings)?;
        match worker.ask(&Ask::Peaks { limit: MEASURING.as_secs_f64() }, MEASURING) {
            End::Answer(Answer::Peaks(p)) => p,
            end => Err(end.words()),
        }
    }

    /// A child that runs cases one by one, as a test harness asks for them.
    ///
    /// # Errors
    /// A sentence: the device does not open.
    pub fn session(&self, settings: &Settings) -> Result<Session, String> {
        Ok(Session { worker: Worker::start(self, settings)?, settings: settings.clone(), alive: true })
    }

    /// Runs cases, one outcome each, in the order in which they ended.
    ///
    /// # Errors
    /// A sentence: there is nothing to run, or the device cannot be opened in the first place.
    pub fn run(
        &self,
        settings: &Settings,
        cases: &[Case],
        tell: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Vec<Outcome>, String> {
        if cases.is_empty() {
            return Err("no case is asked for: a run without cases says nothing".into());
        }
        let first = Worker::start(self, settings)?;
        let queue: Mutex<VecDeque<&Case>> = Mutex::new(cases.iter().collect());
        let done = Mutex::new((Vec::with_capacity(cases.len()), tell));
        thread::scope(|s| {
            let (queue, done) = (&queue, &done);
            let mut first = Some(first);
            for _ in 0..settings.jobs.clamp(1, cases.len()) {
                let worker = first.take();
                s.spawn(move || {
                    self.work(settings, worker, queue, &|p| {
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        (done.1)(match &p {
                            Told::Begins(id) => Progress::Begins(id),
                            Told::Ended(o) => Progress::Ended(o),
                        });
                        if let Told::Ended(o) = p {
                            done.0.push(*o);
                        }
                    })
                });
            }
        });
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// One child after another, as long as there are cases.
    fn work(
        &self,
        settings: &Settings,
        mut worker: Option<Worker>,
        queue: &Mutex<VecDeque<&Case>>,
        tell: &dyn Fn(Told),
    ) {
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut refused = None;
        while let Some(case) = next() {
            tell(Told::Begins(case.id.clone()));
            let mut attempts = 0;
            while worker.is_none() && refused.is_none() {
                attempts += 1;
                match Worker::start(self, settings) {
                    Ok(w) => worker = Some(w),
                    Err(why) if attempts == ATTEMPTS => refused = Some(why),
                    Err(_) => thread::sleep(Duration::from_secs(1)),
                }
            }
            let outcome = match (&mut worker, &refused) {
                (Some(w), _) => {
                    let (outcome, alive) = w.case(case, settings);
                    if !alive || w.ran >= SHARD {
                        worker = None;
                    }
                    outcome
                }
                (None, why) => {
                    let why = why.as_deref().unwrap_or_default();
                    Outcome::ended(case, Verdict::Crash, Some(format!("the device does not open any more: {why}")), 0.0)
                }
            };
            tell(Told::Ended(Box::new(outcome)));
        }
    }
}

/// A child at work for one caller.
pub struct Session {
    worker: Worker,
    settings: Settings,
    alive: bool,
}

impl Session {
    /// Runs a case. After one that its process did not survive another session is needed.
    pub fn run(&mut self, case: &Case) -> Outcome {
        let (outcome, alive) = self.worker.case(case, &self.settings);
        self.alive = alive;
        outcome
    }

    /// It can be asked for another case.
    pub fn is_alive(&self) -> bool {
        self.alive && self.worker.ran < SHARD
    }
}

/// A progress that owns what it tells of.
enum Told {
    Begins(String),
    Ended(Box<Outcome>),
}

/// How a question to a child ended.
enum End {
    Answer(Answer),
    Died(String),
    Hung(Duration),
}

impl End {
    fn words(&self) -> String {
        match self {
            End::Answer(Answer::Refused(why)) => why.clone(),
            End::Answer(a) => format!("the process answered something else: {a:?}"),
            End::Died(how) => format!("the process ended: {how}"),
            End::Hung(limit) => format!("the process did not answer within {limit:?}"),
        }
    }
}

/// A child at work.
struct Worker {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<String>,
    errors: File,
    info: Option<Box<DeviceInfo>>,
    ran: usize,
}

impl Worker {
    /// Starts a child and has it open the device.
    fn start(host: &Host, settings: &Settings) -> Result<Worker, String> {
        let program = host.program.display();
        let cannot = |e: io::Error| format!("{program} cannot be run: {e}");
        // A file, not a pipe: a process that a driver started may hold a pipe open for ever.
        let errors = tempfile::tempfile().map_err(cannot)?;
        let mut child = Command::new(&host.program)
            .args(&host.arguments)
            .envs(host.variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().map_err(cannot)?)
            .spawn()
            .map_err(cannot)?;
        let to = child.stdin.take();
        let (send, from) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            // It ends when the pipe does, or nobody listens.
            thread::spawn(move || {
                for line in BufReader::new(out).split(b'\n').map_while(io::Result::ok) {
                    let line = String::from_utf8_lossy(&line);
                    if let Some((_, answer)) = line.split_once(MARK)
                        && send.send(answer.to_string()).is_err()
                    {
                        return;
                    }
                }
            });
        }
        let mut worker = Worker { child, to, from, errors, info: None, ran: 0 };
        let ask = Ask::Open { device: settings.device.clone(), seed: settings.seed, soak: settings.soak.as_secs_f64() };
        match worker.ask(&ask, OPENING) {
            End::Answer(Answer::Open(info)) => {
                worker.info = Some(info);
                Ok(worker)
            }
            End::Answer(Answer::Refused(why)) => Err(why),
            end => Err(format!("opening {}: {}", settings.device, end.words())),
        }
    }

    /// Runs a case; whether the child may be asked again.
    fn case(&mut self, case: &Case, settings: &Settings) -> (Outcome, bool) {
        self.ran += 1;
        let limit = settings.limit + if case.soaks { settings.soak } else { Duration::ZERO };
        let begin = Instant::now();
        let end = self.ask(&Ask::Case { id: case.id.clone(), limit: limit.as_secs_f64() }, limit);
        let seconds = begin.elapsed().as_secs_f64();
        let ended = |verdict, why| (Outcome::ended(case, verdict, Some(why), seconds), false);
        match end {
            End::Answer(Answer::Case(o)) if o.id == case.id => (*o, true),
            End::Answer(Answer::Last(o)) if o.id == case.id => (*o, false),
            End::Died(how) => ended(Verdict::Crash, how),
            End::Hung(limit) => ended(Verdict::Hang, format!("it did not end within {limit:?}")),
            end => ended(Verdict::Crash, end.words()),
        }
    }

    /// Asks and waits so long; a child that does not answer is ended.
    fn ask(&mut self, ask: &Ask, limit: Duration) -> End {
        let text = serde_json::to_string(ask).unwrap_or_default();
        if let Some(to) = &mut self.to {
            // A child that has gone is noticed below.
            let _ = writeln!(to, "{text}").and_then(|()| to.flush());
        }
        let begin = Instant::now();
        let mut ended: Option<Instant> = None;
        loop {
            match self.from.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(answer) => return End::Answer(answer),
                    Err(e) => return End::Died(format!("its answer cannot be read: {e}")),
                },
                Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(20)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            match self.child.try_wait() {
                // What it wrote last may still be on its way.
                Ok(Some(status)) if ended.is_some_and(|t| t.elapsed() > Duration::from_millis(150)) => {
                    return End::Died(format!("{status}{}", self.said()));
                }
                Ok(Some(_)) => drop(ended.get_or_insert_with(Instant::now)),
                Err(e) => return End::Died(e.to_string()),
                Ok(None) if begin.elapsed() >= limit => {
                    let _ = self.child.kill();
                    return End::Hung(limit);
                }
                Ok(None) => {}
            }
        }
    }

    /// The child's last words on its standard error.
    fn said(&mut self) -> String {
        let mut read = || -> io::Result<String> {
            let bytes = self.errors.seek(SeekFrom::End(0))?;
            self.errors.seek(SeekFrom::Start(bytes.saturating_sub(TAIL)))?;
            let mut text = vec![];
            (&self.errors).take(TAIL).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = read().unwrap_or_default();
        let last = text.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
        let last: String = last.chars().filter(|c| !c.is_control()).take(300).collect();
        if last.is_empty() { last } else { format!("; it said: {last}") }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its input ends, and with that it ends; what does not is ended.
        self.to = None;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
