//! Faults: code that may touch memory it must not runs as a coroutine on a stack of its own; the signal's handler makes that return
//! what happened. Whatever else faults is passed on to whoever handled signals before.

use super::stacks::{self, Slot};
use crate::{code::Code, memory};
use corosensei::{Coroutine, CoroutineResult, trap::CoroutineTrapHandler};
use std::{
    cell::Cell,
    sync::{Once, OnceLock},
};

/// How a coroutine ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    Done,
    Fault(Fault),
}

/// What it was stopped by.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub code: Code,
    pub signal: i32,
    pub address: usize,
}

impl Fault {
    pub fn words(&self) -> String {
        match self.signal {
            libc::SIGFPE => {
                "integer division by zero, or of the smallest number by -1, which CUDA leaves undefined".into()
            }
            libc::SIGILL | libc::SIGTRAP => "an instruction that cannot be".into(),
            _ => format!("access to {}", memory::describe(self.address)),
        }
    }
}

/// Code that runs with a net: the coroutine it is in.
#[derive(Clone, Copy)]
pub struct Net {
    handler: CoroutineTrapHandler<End>,
}

impl Net {
    pub fn new<I, Y>(of: &Coroutine<I, Y, End, Slot>) -> Net {
        Net { handler: of.trap_handler() }
    }
}

thread_local! {
    static NET: Cell<Option<Net>> = const { Cell::new(None) };
}

/// Where faults of this thread go. The reference stays on this thread.
pub fn net() -> &'static Cell<Option<Net>> {
    // SAFETY: a thread's own variable without a destructor lives as long as the thread, and so does all work on it.
    NET.with(|net| unsafe { &*std::ptr::from_ref(net) })
}

const SIGNALS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
static BEFORE: [OnceLock<libc::sigaction>; 4] = [const { OnceLock::new() }; 4];

/// Handles the signals of this process.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, before) in SIGNALS.iter().zip(&BEFORE) {
            // SAFETY: a handler that does only what a handler may, and passes on what is not its own.
            unsafe {
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = handle as *const () as usize;
                new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                let mut old: libc::sigaction = std::mem::zeroed();
                libc::sigaction(*signal, &new, &mut old);
                let _ = before.set(old);
            }
        }
    });
}

/// A stack for signals, since a kernel may have used up its own; once for each thread that runs kernels.
pub fn prepare_thread() {
    const BYTES: usize = 64 << 10;
    NET.set(None);
    let stack = Box::leak(vec![0u8; BYTES].into_boxed_slice());
    // SAFETY: the memory is never freed: threads of streams are few.
    unsafe {
        let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: BYTES };
        libc::sigaltstack(&stack, std::ptr::null_mut());
    }
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system's arguments to a handler with SA_SIGINFO.
    unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        if let Some(net) = NET.get() {
            let address = (*info).si_addr() as usize;
            let code = match signal {
                libc::SIGSEGV | libc::SIGBUS => Code::ILLEGAL_ADDRESS,
                libc::SIGILL => Code::ILLEGAL_INSTRUCTION,
                _ => Code::LAUNCH_FAILED,
            };
            let fault = Fault { code, signal, address };
            if net.handler.stack_ptr_in_bounds(stack_pointer(context)) {
                NET.set(None);
                land(context, net.handler, fault);
                return;
            }
        }
        pass_on(signal, info, context);
    }
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

#[cfg(target_arch = "x86_64")]
unsafe fn land(context: &mut libc::ucontext_t, handler: CoroutineTrapHandler<End>, fault: Fault) {
    // SAFETY: the stack pointer is on the coroutine's stack; its code holds nothing that needs to be dropped.
    let regs = unsafe { handler.setup_trap_handler(move || End::Fault(fault)) };
    let to = &mut context.uc_mcontext.gregs;
    to[libc::REG_RIP as usize] = regs.rip as i64;
    to[libc::REG_RSP as usize] = regs.rsp as i64;
    to[libc::REG_RBP as usize] = regs.rbp as i64;
    to[libc::REG_RDI as usize] = regs.rdi as i64;
    to[libc::REG_RSI as usize] = regs.rsi as i64;
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

#[cfg(target_arch = "aarch64")]
unsafe fn land(context: &mut libc::ucontext_t, handler: CoroutineTrapHandler<End>, fault: Fault) {
    // SAFETY: the stack pointer is on the coroutine's stack; its code holds nothing that needs to be dropped.
    let regs = unsafe { handler.setup_trap_handler(move || End::Fault(fault)) };
    let to = &mut context.uc_mcontext;
    to.pc = regs.pc;
    to.sp = regs.sp;
    to.regs[0] = regs.x0;
    to.regs[1] = regs.x1;
    to.regs[29] = regs.x29;
    to.regs[30] = regs.lr;
}

/// Whoever handled the signal before does; where that was the system, the instruction faults again and the process ends.
unsafe fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: &mut libc::ucontext_t) {
    let before = SIGNALS.iter().position(|s| *s == signal).and_then(|i| BEFORE[i].get());
    // SAFETY: the handler that was installed, with the arguments that its flags ask for.
    unsafe {
        match before {
            Some(old) if old.sa_sigaction > libc::SIG_IGN && old.sa_flags & libc::SA_SIGINFO != 0 => {
                let call: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(old.sa_sigaction);
                call(signal, info, std::ptr::from_mut(context).cast());
            }
            Some(old) if old.sa_sigaction > libc::SIG_IGN => {
                let call: extern "C" fn(i32) = std::mem::transmute(old.sa_sigaction);
                call(signal);
            }
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Runs code that may fault. It must hold nothing that needs to be dropped.
pub fn guarded(code: impl FnOnce() + 'static) -> Result<(), Fault> {
    let stacks = stacks::take(1).map_err(|code| Fault { code, signal: 0, address: 0 })?;
    let slot = stacks.slot(0);
    let mut coroutine = Coroutine::<(), (), End, Slot>::with_stack(slot, move |_, ()| {
        code();
        End::Done
    });
    NET.set(Some(Net::new(&coroutine)));
    let end = coroutine.resume(());
    NET.set(None);
    match end {
        CoroutineResult::Return(End::Fault(fault)) => Err(fault),
        CoroutineResult::Return(End::Done) | CoroutineResult::Yield(()) => Ok(()),
    }
}
