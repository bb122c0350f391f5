//! The same daemons in the same image, as somebody would start them by hand: `unshare`, an overlay, `chroot`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use harness::image::{Cache, Image};

/// Who starts containerd.
#[derive(Clone, Copy)]
pub(crate) enum Containerd {
    /// It is started first, as the packages' units do.
    Beside,
    /// dockerd starts it.
    OfDockerd,
}

/// How long the daemons may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// `$1` is the image's root, `$2` an empty folder, `$3` what to run in the end.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs tmpfs "$2"
mkdir "$2"/upper "$2"/work "$2"/root "$2"/docker "$2"/containerd
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2"/root
cd "$2"/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --bind "$2"/docker var/lib/docker
mount --bind "$2"/containerd var/lib/containerd
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' > etc/containerd/config.toml
exec chroot . /bin/sh -c "ip link set lo up; $3"
"#;

const BESIDE: &str = "containerd & until [ -S /run/containerd/containerd.sock ]; do sleep 0.003; done; \
                      exec dockerd --containerd /run/containerd/containerd.sock";

/// Starts them, waits for an answer, ends them: the time until the answer.
pub(crate) async fn start(containerd: Containerd) -> Result<Duration> {
    let image = Image::debian_13()?;
    let mount = Cache::open()?.folder().join("by-hand");
    std::fs::create_dir_all(&mount)?;
    let script = match containerd {
        Containerd::Beside => BESIDE,
        Containerd::OfDockerd => "exec dockerd",
    };
    let begin = Instant::now();
    let daemons = Daemons(
        Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--propagation",
                "slave",
            ])
            .args(["sh", "-c", SCRIPT, "by-hand"])
            .args([image.rootfs().as_os_str(), mount.as_os_str(), script.as_ref()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("unshare")?,
    );
    let mut tick = tokio::time::interval(Duration::from_millis(3));
    loop {
        tick.tick().await;
        if let Some(socket) = daemons.socket()
            && answers(&socket).await
        {
            let time = begin.elapsed();
            drop(daemons);
            std::fs::remove_dir(&mount)?;
            return Ok(time);
        }
        if begin.elapsed() > DEADLINE {
            bail!("dockerd by hand did not answer within {DEADLINE:?}");
        }
    }
}

async fn answers(socket: &Path) -> bool {
    let path = socket.to_string_lossy();
    let client = bollard::Docker::connect_with_unix(&path, 10, bollard::API_DEFAULT_VERSION);
    match client {
        Ok(client) => client.negotiate_version().await.is_ok(),
        Err(_) => false,
    }
}

/// Ends with its first process, which `--kill-child` ties to `unshare`.
struct Daemons(Child);

impl Daemons {
    fn socket(&self) -> Option<PathBuf> {
        let pid = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let child = children.split_whitespace().next()?;
        let socket = PathBuf::from(format!("/proc/{child}/root/run/docker.sock"));
        socket.exists().then_some(socket)
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
