//! Hosts: what they are, what they are kept from, and what they answer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::assert::OutputAssertExt;
use harness::image::Image;
use harness::{BootError, BootStep, Engine, EngineError, ExecError, Host, Privilege};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where nextest says that it is, also when it was unpacked from an archive; else where cargo put it.
fn openshell_harness() -> PathBuf {
    std::env::var_os("NEXTEST_BIN_EXE_openshell-harness")
        .map_or_else(|| env!("CARGO_BIN_EXE_openshell-harness").into(), PathBuf::from)
}

/// Runs a line of shell in a host; its output without the last newline.
async fn shell(host: &Host, line: &str) -> Result<String> {
    Ok(host.command("sh").args(["-c", line]).run().await?.trim_end().to_owned())
}

/// Whether a line of shell succeeds in a host.
async fn succeeds(host: &Host, line: &str) -> Result<bool> {
    Ok(host.command("sh").args(["-c", line]).output().await?.status.success())
}

#[tokio::test]
async fn every_namespace_is_another_one_than_the_machines() -> Result {
    let host = Host::builder().name("brev-1").start().await?;
    for name in ["net", "mnt", "pid", "uts", "ipc", "cgroup"] {
        let inside = shell(&host, &format!("readlink /proc/self/ns/{name}")).await?;
        let machine = std::fs::read_link(format!("/proc/self/ns/{name}"))?;
        assert_ne!(inside, machine.to_string_lossy(), "{name}");
        assert!(inside.starts_with(name), "{inside}");
    }
    assert_eq!(shell(&host, "hostname").await?, "brev-1");
    assert_eq!(shell(&host, "ip -br link | cut -d' ' -f1").await?, "lo");
    assert_eq!(shell(&host, "cut -d: -f3 /proc/self/cgroup | sort -u").await?, "/");
    host.shutdown().await?;
    Ok(())
}

#[tokio::test]
async fn nothing_of_the_machine_is_seen_unless_it_is_bound() -> Result {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    std::fs::write(&file, "seen")?;
    // A folder with a file system mounted below it, which only this process and its host see.
    let parts = tempfile::tempdir()?;
    let (below, nothing) = (parts.path().join("below"), None::<&str>);
    std::fs::create_dir(&below)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), nothing)?;
    std::fs::write(below.join("file"), "below")?;
    // In the image `/var/run` is a link to `/run`, which on the machine leads out of the host.
    let unheard_of = format!("openshell-{}", std::process::id());
    let host = Host::builder()
        .bind(&file, "/mnt/read-only/file")
        .bind_writable(folder.path(), "/mnt/writable")
        .bind(parts.path(), format!("/var/run/{unheard_of}"))
        .start()
        .await?;
    let path = file.display();
    assert!(!succeeds(&host, &format!("test -e {path}")).await?, "{path} is visible by itself");
    assert_eq!(shell(&host, "cat /mnt/read-only/file /mnt/writable/secret").await?, "seenseen");
    assert!(!succeeds(&host, "echo x > /mnt/read-only/file").await?, "a bind is for reading");
    assert_eq!(std::fs::read_link(host.image().rootfs().join("var/run"))?, Path::new("/run"));
    assert_eq!(shell(&host, &format!("cat /run/{unheard_of}/below/file")).await?, "below");
    assert!(!Path::new("/run").join(&unheard_of).exists(), "it was made on the machine");
    assert!(!succeeds(&host, &format!("echo x > /run/{unheard_of}/below/file")).await?, "so is all below it");
    shell(&host, "echo changed > /mnt/writable/secret").await?;
    assert_eq!(std::fs::read_to_string(&file)?, "changed\n");
    // Its environment is the harness's own, whatever the creator's is.
    let environment: BTreeSet<String> = shell(&host, "env")
        .await?
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
        .collect();
    let expected = ["HOME", "LANG", "LC_ALL", "PATH", "PWD"].map(str::to_owned);
    assert_eq!(environment, BTreeSet::from(expected));
    // And so is its configuration.
    assert!(!succeeds(&host, "test -e /etc/docker/daemon.json").await?);
    assert_eq!(shell(&host, "ufw status").await?, "Status: inactive");
    assert_eq!(shell(&host, "grep -c '^[^#]' /etc/resolv.conf || true").await?, "0");
    Ok(())
}

#[tokio::test]
async fn what_one_host_writes_neither_another_one_nor_the_image_sees() -> Result {
    let (one, other) = (Host::builder().start().await?, Host::builder().start().await?);
    shell(&one, "echo x > /etc/written && rm /etc/default/ufw").await?;
    assert!(!succeeds(&other, "test -e /etc/written").await?);
    assert!(succeeds(&other, "test -e /etc/default/ufw").await?);
    assert!(!one.image().rootfs().join("etc/written").exists());
    assert!(one.image().rootfs().join("etc/default/ufw").exists());
    assert_eq!(
        shell(&one, "stat -f -c %T / /run /tmp /dev /var/lib/docker | sort -u").await?,
        "overlayfs\ntmpfs"
    );
    Ok(())
}

#[tokio::test]
async fn the_root_of_a_host_may_not_touch_the_machine() -> Result {
    let host = Host::builder().start().await?;
    assert!(!succeeds(&host, "mknod /dev/disk b 8 0").await?, "a block device");
    assert!(succeeds(&host, "mknod /dev/character c 1 3 && mkfifo /tmp/fifo").await?, "what engines make");
    // 12 boot, 16 module, 17 raw I/O, 22 boot, 25 time: their numbers in the sets of the kernel.
    let sets = shell(&host, "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2").await?;
    for set in sets.lines() {
        let bits = u64::from_str_radix(set, 16)?;
        for (number, name) in [(16, "SYS_MODULE"), (17, "SYS_RAWIO"), (22, "SYS_BOOT"), (25, "SYS_TIME")] {
            assert_eq!(bits >> number & 1, 0, "CAP_{name} in {set}");
        }
        assert_eq!(bits >> 12 & 1, 1, "CAP_NET_ADMIN is needed: {set}");
    }
    assert!(!succeeds(&host, "date -s 2001-01-01").await?);
    for setting in ["kernel/sysrq", "vm/swappiness", "kernel/keys/root_maxkeys"] {
        assert!(
            !succeeds(&host, &format!("cat /proc/sys/{setting} > /proc/sys/{setting}")).await?,
            "{setting}"
        );
    }
    assert!(succeeds(&host, "echo 1 > /proc/sys/net/ipv4/ip_forward").await?, "its own network's settings");
    let mounts = shell(&host, "cut -d' ' -f3 /proc/mounts | sort -u").await?;
    for kind in ["debugfs", "tracefs", "securityfs", "bpf", "ext4"] {
        assert!(!mounts.lines().any(|line| line == kind), "{kind} is mounted");
    }
    Ok(())
}

/// The keeper and the init hold the control socket, the events and the log, whatever their creator has open.
#[tokio::test]
async fn a_host_inherits_no_descriptor() -> Result {
    let folder = tempfile::tempdir()?;
    let file = std::fs::File::create(folder.path().join("inheritable"))?;
    // Unlike the standard library's, this duplicate is not close-on-exec.
    let inheritable = nix::unistd::dup(&file)?;
    let host = Host::builder().start().await?;
    let init = host.init_pid();
    let status = std::fs::read_to_string(format!("/proc/{init}/status"))?;
    let keeper = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    for process in [keeper, &init.to_string()] {
        for descriptor in std::fs::read_dir(format!("/proc/{process}/fd"))? {
            let target = std::fs::read_link(descriptor?.path())?;
            let target = target.to_string_lossy();
            let own = ["socket:", "pipe:", "anon_inode:[signalfd]", "/memfd:openshell-harness-log"];
            assert!(own.iter().any(|own| target.starts_with(own)), "{process} holds {target}");
        }
        let session = nix::unistd::getsid(Some(Pid::from_raw(process.parse()?)))?;
        assert_ne!(session, nix::unistd::getsid(None)?, "{process} is in its creator's session");
    }
    drop(inheritable);
    Ok(())
}

#[tokio::test]
async fn a_command_is_captured_and_its_failure_tells_what_it_said() -> Result {
    let host = Host::builder().start().await?;
    let output = host.command("sh").args(["-c", "echo out; echo err >&2; exit 3"]).output().await?;
    output.assert().code(3).stdout("out\n").stderr("err\n");
    let error = host.command("ls").arg("/missing").run().await.unwrap_err();
    assert!(matches!(error, ExecError::Failed { .. }));
    let text = error.to_string();
    assert!(text.starts_with("ls /missing: exit status: 2") && text.contains("No such file"), "{text}");
    let error = host.command("no-such-program").run().await.unwrap_err();
    assert_eq!(error.to_string(), "no-such-program: No such file or directory (os error 2)");
    let error = host.command("true").arg("x".repeat(70_000)).run().await.unwrap_err();
    assert!(matches!(error, ExecError::TooLong { .. }), "{error}");
    // More than a pipe holds.
    let output = host.command("head").args(["-c", "1000000", "/dev/zero"]).output().await?;
    assert_eq!(output.stdout.len(), 1_000_000);
    Ok(())
}

#[tokio::test]
async fn a_command_runs_as_whom_and_where_it_is_told() -> Result {
    let host = Host::builder().start().await?;
    let command = host.command("sh").user(1000, 998).cwd("/tmp").env("GREETING", "hello").env("HOME", "/tmp");
    let said = command.args(["-c", "id -u; id -g; id -G; pwd; echo $GREETING $HOME"]).run().await?;
    assert_eq!(said, "1000\n998\n998\n/tmp\nhello /tmp\n");
    let (reader, writer) = std::io::pipe()?;
    let mut process = host.command("cat").stdin(reader).spawn().await?;
    (&writer).write_all(b"through a pipe")?;
    drop(writer);
    assert!(process.wait().await?.success());
    assert_eq!(process.stdout(), "through a pipe");
    Ok(())
}

#[tokio::test]
async fn a_command_past_its_deadline_is_ended_with_its_children() -> Result {
    let host = Host::builder().start().await?;
    let command = host.command("sh").args(["-c", "echo waiting >&2; sleep 600 & sleep 600"]);
    let start = std::time::Instant::now();
    let error = command.deadline(Duration::from_millis(300)).run().await.unwrap_err();
    // Far from both its own deadline and the default one, 30 s.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(matches!(error, ExecError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("waiting"), "{error}");
    until(&host, "! pgrep sleep").await
}

#[tokio::test]
async fn a_dropped_process_ends_and_a_kept_one_lives_with_the_host() -> Result {
    let host = Host::builder().start().await?;
    let dropped = host.command("sleep").arg("601").spawn().await?;
    host.keep(host.command("sleep").arg("602").spawn().await?);
    assert_eq!(shell(&host, "pgrep -c sleep").await?, "2");
    drop(dropped);
    until(&host, "! pgrep -xf 'sleep 601'").await?;
    assert!(succeeds(&host, "pgrep -xf 'sleep 602'").await?);
    Ok(())
}

/// Waits until a line of shell succeeds.
async fn until(host: &Host, line: &str) -> Result {
    for _ in 0..500 {
        if succeeds(host, line).await? {
            return Ok(());
        }
    }
    Err(format!("never: {line}").into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_hosts_live_in_one_threaded_process() -> Result {
    let boots: Vec<_> =
        (0..4).map(|number| tokio::spawn(Host::builder().name(format!("h{number}")).start())).collect();
    let mut hosts = Vec::new();
    for boot in boots {
        hosts.push(boot.await??);
    }
    let inodes: BTreeSet<u64> = hosts.iter().map(|host| host.network_namespace().inode()).collect();
    assert_eq!(inodes.len(), 4);
    for (number, host) in hosts.iter().enumerate() {
        assert_eq!(shell(host, "hostname").await?, format!("h{number}"));
    }
    let first = hosts.remove(0);
    let init = first.init_pid();
    first.shutdown().await?;
    assert!(!std::path::Path::new(&format!("/proc/{init}")).exists());
    assert_eq!(shell(&hosts[0], "hostname").await?, "h1", "the others live on");
    Ok(())
}

#[tokio::test]
async fn sockets_and_tasks_of_the_test_can_be_in_the_hosts_network() -> Result {
    let host = Host::builder().start().await?;
    let namespace = host.network_namespace();
    let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)))??;
    assert!(succeeds(&host, "grep -q ':1F90 00000000:0000 0A' /proc/net/tcp").await?, "the host sees it");
    let mut client = namespace.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 8080)))??;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"hello")?;
    drop(client);
    let mut said = String::new();
    server.read_to_string(&mut said)?;
    assert_eq!(said, "hello");
    let port = namespace.block_on(async || {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, _) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        client.unwrap().peer_addr().unwrap().port()
    })?;
    assert_ne!(port, 0);
    Ok(())
}

#[tokio::test]
async fn a_host_that_has_ended_says_so() -> Result {
    let host = Host::builder().start().await?;
    kill(Pid::from_raw(host.init_pid()), Signal::SIGKILL)?;
    let error = host.command("true").run().await.unwrap_err();
    assert!(matches!(error, ExecError::HostEnded { .. }), "{error}");
    host.shutdown().await?;
    Ok(())
}

#[tokio::test]
async fn every_step_of_a_boot_is_announced_in_order() -> Result {
    let (sender, steps) = std::sync::mpsc::channel();
    let host = Host::builder()
        .engine(Engine::Docker)
        .on_step(move |step| sender.send(step).unwrap())
        .start()
        .await?;
    host.shutdown().await?;
    assert_eq!(steps.iter().collect::<Vec<_>>(), BootStep::ALL);
    Ok(())
}

#[tokio::test]
async fn a_bad_option_is_refused_with_its_name_and_the_way_out() -> Result {
    let refused = async |builder: harness::HostBuilder| match builder.start().await {
        Err(error @ BootError::BadOption { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let text = refused(Host::builder().name("under_score")).await;
    assert_eq!(text, "name: \"under_score\" is not 1 to 63 letters, digits and hyphens");
    let text = refused(Host::builder().bind("/missing", "/mnt")).await;
    assert!(text.starts_with("bind /missing: No such file"), "{text}");
    let text = refused(Host::builder().bind("/etc", "/mnt/../etc")).await;
    assert!(text.contains("absolute path without `..`"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_engine_that_does_not_start_shows_its_log() -> Result {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), r#"{"storage-driver": "no-such-driver"}"#)?;
    let builder = Host::builder().engine(Engine::Docker).bind(file.path(), "/etc/docker/daemon.json");
    let Err(BootError::Engine(error)) = builder.start().await else { panic!("it started") };
    assert!(matches!(*error, EngineError::Ended { daemon: "dockerd", .. }), "{error}");
    assert!(error.to_string().contains("no-such-driver"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_engine_is_the_images_and_nothing_of_the_machines() -> Result {
    let host = Host::builder().name("lab").engine(Engine::Docker).start().await?;
    // Reachable at its usual place inside, and from outside.
    let info =
        host.command("docker").args(["info", "--format", "{{.Name}} {{.DockerRootDir}}"]).run().await?;
    assert_eq!(info, "lab /var/lib/docker\n");
    assert_eq!(host.engine()?.client().info().await?.name.as_deref(), Some("lab"));
    assert!(host.engine()?.socket().exists());
    let networks = shell(&host, "docker network ls --format '{{.Name}}' | sort | tr '\\n' ' '").await?;
    assert_eq!(networks, "bridge host none");
    assert_eq!(shell(&host, "docker ps -aq; docker images -q; docker volume ls -q").await?, "");
    Ok(())
}

/// The image is never written to: its digest, which has every file's content, is what it was when it was built.
#[test]
fn the_image_is_as_it_was_built() -> Result {
    Ok(Image::debian_13()?.verify()?)
}

#[tokio::test]
async fn the_machines_own_userland_runs_with_its_configuration_masked() -> Result {
    let host = Host::builder().image(Image::machine()?).start().await?;
    let release = std::fs::read_to_string("/etc/os-release")?;
    assert_eq!(shell(&host, "cat /etc/os-release").await?, release.trim_end());
    for hidden in ["/root", "/home", "/mnt"] {
        assert_eq!(shell(&host, &format!("ls -A {hidden}")).await?, "", "{hidden}");
    }
    let marker = "/usr/local/openshell-harness-test";
    shell(&host, &format!("echo x > {marker}")).await?;
    assert!(!std::path::Path::new(marker).exists(), "what it writes is in its own memory");
    assert_ne!(host.network_namespace().inode(), std::fs::metadata("/proc/self/ns/net")?.ino());
    Ok(())
}

#[test]
fn the_cache_is_where_the_environment_says() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().display();
    for (variable, expected) in [
        ("OPENSHELL_HARNESS_CACHE", format!("{path}\n")),
        ("XDG_CACHE_HOME", format!("{path}/openshell-harness\n")),
        ("HOME", format!("{path}/.cache/openshell-harness\n")),
    ] {
        let mut harness = std::process::Command::new(openshell_harness());
        let output = harness.args(["image", "verify"]).env_clear().env(variable, folder.path()).output()?;
        let stderr = String::from_utf8(output.clone().stderr)?;
        output.assert().code(1);
        assert!(stderr.contains(&format!("is not in the cache {expected}")), "{variable}: {stderr}");
    }
    Ok(())
}

/// This process has threads, so it is too late to enter; nothing is booted as root instead.
#[tokio::test]
async fn a_host_without_root_takes_a_process_that_has_entered() {
    let error = Host::builder().privilege(Privilege::User).start().await.unwrap_err().to_string();
    assert!(error.starts_with("this process is in no user namespace of its own"), "{error}");
    assert!(error.contains("\nhint: set OPENSHELL_HARNESS_PRIVILEGE=auto"), "{error}");
}
