//! Control groups of both kinds.

use harness::{Cgroups, Engine, Host};

/// What `docker info` says of them, and whether a container really runs under it.
async fn version_in(cgroups: Cgroups) -> Result<String, Box<dyn std::error::Error>> {
    let host = Host::builder().engine(Engine::Docker).cgroups(cgroups).start().await?;
    let info = host.engine()?.client().info().await?;
    // The image's own `true` in a container that has nothing else.
    let run = "mkdir /tmp/c && cp -a --parents /usr/bin/true /lib64 /usr/lib64 \
               /lib/*/libc.so.6 /usr/lib/*/libc.so.6 /usr/lib/*/ld-linux* /lib /tmp/c 2>/dev/null; \
               tar -C /tmp/c -c usr lib lib64 | docker import - probe:test >/dev/null && \
               docker run --rm --network none probe:test /usr/bin/true";
    host.command("sh").args(["-c", run]).run().await?;
    host.shutdown().await?;
    Ok(info.cgroup_version.map(|version| format!("{version:?}")).unwrap_or_default())
}

#[tokio::test]
async fn an_engine_runs_containers_on_cgroup_v2() -> Result<(), Box<dyn std::error::Error>> {
    assert!(version_in(Cgroups::V2).await?.contains('2'));
    Ok(())
}

/// Where the machine mounts no v1, a host that asks for it is refused with the reason; where it does, it runs.
#[tokio::test]
async fn an_engine_runs_containers_on_cgroup_v1_where_the_machine_has_it()
-> Result<(), Box<dyn std::error::Error>> {
    let machine_has_v1 = std::fs::read_to_string("/proc/self/mountinfo")?.contains(" - cgroup ");
    if machine_has_v1 {
        assert!(version_in(Cgroups::V1).await?.contains('1'));
    } else {
        let error = Host::builder().cgroups(Cgroups::V1).start().await.err().map(|error| error.to_string());
        assert!(error.as_deref().is_some_and(|text| text.contains("mounts no cgroup v1")), "{error:?}");
    }
    Ok(())
}
