//! A network namespace held by a descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Why a namespace could not be made, entered or furnished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a step.
    #[error("{step}: {source}")]
    Kernel {
        /// What was tried, as a lowercase fragment.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A netlink request was refused.
    #[error("{step}: {source}")]
    Netlink {
        /// What was tried, as a lowercase fragment.
        step: &'static str,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// An interface that has to exist does not.
    #[error("there is no interface {name} in this network namespace")]
    NoInterface {
        /// The interface's name.
        name: String,
    },
    /// The bridge or its new port did not come up in time.
    #[error("{name} did not come up within {milliseconds} ms")]
    NotUp {
        /// The interface's name.
        name: String,
        /// How long it was waited for.
        milliseconds: u128,
    },
}

impl Error {
    pub(crate) fn kernel(step: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Kernel { step, source: errno.into() }
    }
}

/// A network namespace. It lives as long as this value, a process or a socket in it does.
#[derive(Debug)]
pub struct Namespace {
    descriptor: OwnedFd,
    inode: u64,
}

impl Namespace {
    /// The network namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` does not show it.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The network namespace that a file such as `/proc/PID/ns/net` stands for.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let inode = file.metadata()?.ino();
            Ok(Self { descriptor: file.into(), inode })
        };
        open().map_err(|source| Error::Kernel { step: "open a network namespace", source })
    }

    /// A new, empty network namespace whose loopback interface is up.
    ///
    /// # Errors
    /// When the kernel refuses (it takes CAP_SYS_ADMIN).
    pub fn create() -> Result<Self, Error> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(Error::kernel("make a network namespace"))?;
            crate::sys::bring_loopback_up()
                .map_err(|source| Error::Kernel { step: "set the loopback interface up", source })?;
            Self::current()
        })
    }

    /// The same namespace, held by one more descriptor.
    ///
    /// # Errors
    /// When this process may hold no more descriptors.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let descriptor = self.descriptor.try_clone();
        let descriptor =
            descriptor.map_err(|source| Error::Kernel { step: "hold a network namespace", source })?;
        Ok(Self { descriptor, inode: self.inode })
    }

    /// The inode that tells this namespace from every other one that lives.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `task` on a thread of its own in this namespace. What it opens (sockets, say) stays in the namespace.
    ///
    /// # Errors
    /// When the thread cannot enter the namespace; a panic of `task` goes on in the caller.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_a_thread(|| {
            setns(self.descriptor.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(Error::kernel("enter a network namespace"))?;
            Ok(task())
        })
    }

    /// Runs an asynchronous task like [`run`](Self::run), on a runtime of its own whose every socket is in this
    /// namespace (it has one thread, because a thread enters a namespace for itself only).
    ///
    /// # Errors
    /// When the thread cannot enter the namespace.
    pub fn block_on<T: Send>(&self, task: impl AsyncFnOnce() -> T + Send) -> Result<T, Error> {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|source| Error::Kernel { step: "start a runtime", source })?;
            Ok(runtime.block_on(task()))
        })?
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn on_a_thread<T: Send>(task: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| match scope.spawn(task).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
