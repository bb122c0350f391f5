//! The stand-ins, in hosts without an engine: a bridge with an address is all that they need of a network.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use harness::Host;
use harness::service::{
    CheckError, Client, Gateway, GatewayMode, GrpcStatus, Identity, OllamaProxy, Service, ServiceError,
    health, health_over_tls, tags,
};

const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
const PERMISSION_DENIED: u16 = 7;
const UNIMPLEMENTED: u16 = 12;

/// A host in which the address of a sandbox network's bridge exists.
async fn host_with_bridge() -> Host {
    let host = Host::builder().start().await.unwrap();
    let ip = |args: &str| host.command("ip").args(args.split(' ')).run();
    ip("link add br0 type bridge").await.unwrap();
    ip("address add 172.18.0.1/16 dev br0").await.unwrap();
    ip("link set br0 up").await.unwrap();
    host
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn bridge(port: u16) -> SocketAddr {
    (BRIDGE, port).into()
}

/// Every listening TCP socket of the host, as the kernel shows it.
async fn listening(host: &Host) -> Vec<SocketAddr> {
    let mut listening = Vec::new();
    for (table, is_v6) in [("/proc/net/tcp", false), ("/proc/net/tcp6", true)] {
        let content = host.command("cat").arg(table).run().await.unwrap();
        for line in content.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields[3] != "0A" {
                continue;
            }
            let (ip, port) = fields[1].split_once(':').unwrap();
            // Words of 32 bits, each in the machine's byte order.
            let bytes: Vec<u8> = (0..ip.len() / 8)
                .flat_map(|i| u32::from_str_radix(&ip[i * 8..i * 8 + 8], 16).unwrap().to_ne_bytes())
                .collect();
            let ip: IpAddr = if is_v6 {
                <[u8; 16]>::try_from(bytes).unwrap().into()
            } else {
                <[u8; 4]>::try_from(bytes).unwrap().into()
            };
            listening.push((ip, u16::from_str_radix(port, 16).unwrap()).into());
        }
    }
    listening.sort();
    listening
}

fn log_of_failed_start(result: Result<Service, ServiceError>) -> String {
    match result {
        Err(ServiceError::Ended { name, status, log }) => {
            assert_eq!(status.code(), Some(1), "{name}: {log}");
            log
        }
        other => panic!("it started: {other:?}"),
    }
}

fn grpc_code(result: Result<(), CheckError>) -> u16 {
    match result {
        Ok(()) => 0,
        Err(CheckError::Grpc { status: GrpcStatus { code, .. }, .. }) => code,
        Err(other) => panic!("not gRPC: {other}"),
    }
}

#[tokio::test]
async fn plain_gateway_is_healthy_on_both_listeners_and_on_no_other() {
    let host = host_with_bridge().await;
    let gateway = Gateway::on(BRIDGE).start(&host).await.unwrap();
    assert_eq!(gateway.addresses(), [loopback(8080), bridge(8080)]);
    assert_eq!(listening(&host).await, [loopback(8080), bridge(8080)]);
    for &address in gateway.addresses() {
        health(&host, address).await.unwrap();
        let client = Client::of(&host);
        assert_eq!(client.get(address, "/", None).await.unwrap().status, 404);
        let unknown = client.grpc(address, "/openshell.v1.OpenShell/NoSuchMethod").await.unwrap();
        assert_eq!(unknown.code, UNIMPLEMENTED, "{unknown:?}");
        let config = client.grpc(address, "/openshell.v1.OpenShell/GetSandboxConfig").await.unwrap();
        assert_eq!(config.code, 0);
    }
    let log = gateway.log();
    for address in ["127.0.0.1:8080", "172.18.0.1:8080"] {
        assert!(log.contains(&format!("Gateway listener bound address={address} ")), "{log}");
    }
    let comm = host.command("cat").arg(format!("/proc/{}/comm", gateway.pid())).run().await.unwrap();
    assert_eq!(comm, "openshell-gatew\n");
}

#[tokio::test]
async fn tls_gateway_is_healthy_for_whoever_trusts_it() {
    let host = host_with_bridge().await;
    let gateway = Gateway::on(BRIDGE).mode(GatewayMode::Tls).start(&host).await.unwrap();
    for &address in gateway.addresses() {
        health_over_tls(&host, address, Identity::Anonymous).await.unwrap();
        health_over_tls(&host, address, Identity::Client).await.unwrap();
        let plain = health(&host, address).await;
        assert!(matches!(plain, Err(CheckError::Http { .. })), "{plain:?}");
    }
    let key = host.command("stat").args(["-c", "%a", "/etc/openshell/tls/client/tls.key"]).run().await;
    assert_eq!(key.unwrap(), "600\n");
}

#[tokio::test]
async fn mutual_tls_gateway_refuses_clients_without_certificate() {
    let host = host_with_bridge().await;
    let gateway = Gateway::on(BRIDGE).mode(GatewayMode::MutualTls).start(&host).await.unwrap();
    for &address in gateway.addresses() {
        health_over_tls(&host, address, Identity::Client).await.unwrap();
        let refused = health_over_tls(&host, address, Identity::Anonymous).await.unwrap_err();
        assert!(matches!(refused, CheckError::Tls { .. }), "{refused:?}");
        assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
    }
}

#[tokio::test]
async fn restricted_bridge_denies_health_that_loopback_serves() {
    let host = host_with_bridge().await;
    for (mode, tls) in [
        (GatewayMode::Plain, None),
        (GatewayMode::Tls, Some(Identity::Anonymous)),
        (GatewayMode::MutualTls, Some(Identity::Client)),
    ] {
        let gateway = Gateway::on(BRIDGE).mode(mode).restricted_bridge().start(&host).await.unwrap();
        let client = tls.map_or(Client::of(&host), |identity| Client::of(&host).over_tls(identity));
        assert_eq!(grpc_code(client.health(loopback(8080)).await), 0, "{mode:?}");
        assert_eq!(grpc_code(client.health(bridge(8080)).await), PERMISSION_DENIED, "{mode:?}");
        let code = async |method| client.grpc(bridge(8080), method).await.unwrap().code;
        assert_eq!(code("/openshell.v1.OpenShell/DeleteSandbox").await, PERMISSION_DENIED);
        assert_eq!(code("/openshell.v1.OpenShell/GetSandboxConfig").await, 0);
        assert_eq!(code("/openshell.v1.OpenShell/ConnectSupervisor").await, UNIMPLEMENTED);
        assert_eq!(client.get(bridge(8080), "/", None).await.unwrap().status, 403);
        assert_eq!(client.get(loopback(8080), "/", None).await.unwrap().status, 404);
        gateway.stop().await.unwrap();
    }
}

#[tokio::test]
async fn second_gateway_names_the_address_that_is_taken() {
    let host = host_with_bridge().await;
    let first = Gateway::on(BRIDGE).mode(GatewayMode::Tls).start(&host).await.unwrap();
    let log = log_of_failed_start(Gateway::on(BRIDGE).start(&host).await);
    assert!(log.contains("failed to bind to 127.0.0.1:8080: Address already in use"), "{log}");

    // Its primary address is free, the other one is not: it keeps neither, and the certificates in use stay.
    let other = Gateway::on(BRIDGE).bind_address(Ipv6Addr::LOCALHOST).mode(GatewayMode::Tls);
    let log = log_of_failed_start(other.start(&host).await);
    assert!(log.contains("Gateway listener bound address=[::1]:8080 "), "{log}");
    assert!(log.contains("failed to bind to 172.18.0.1:8080: Address already in use"), "{log}");
    assert_eq!(listening(&host).await, [loopback(8080), bridge(8080)]);
    health_over_tls(&host, first.addresses()[1], Identity::Client).await.unwrap();

    first.stop().await.unwrap();
    assert!(listening(&host).await.is_empty());
    Gateway::on(BRIDGE).start(&host).await.unwrap();
}

#[tokio::test]
async fn gateway_ends_when_an_address_does_not_exist() {
    let host = host_with_bridge().await;
    let result = Gateway::on(Ipv4Addr::new(172, 19, 0, 1)).start(&host).await;
    let message = result.as_ref().unwrap_err().to_string();
    assert!(message.contains("openshell-gateway ended by itself: exit status: 1"), "{message}");
    let log = log_of_failed_start(result);
    assert!(log.contains("failed to bind to 172.19.0.1:8080: Cannot assign requested address"), "{log}");
    assert!(listening(&host).await.is_empty());
}

#[tokio::test]
async fn gateway_listens_exactly_where_it_is_told() {
    let host = host_with_bridge().await;
    let v6 = |ip: Ipv6Addr| SocketAddr::from((ip, 17670));
    for (gateway, expected) in [
        (Gateway::on_loopback(), vec![loopback(17670)]),
        (Gateway::on_loopback().bind_address(BRIDGE), vec![bridge(17670)]),
        (Gateway::on_loopback().bind_address(Ipv6Addr::LOCALHOST), vec![v6(Ipv6Addr::LOCALHOST)]),
        (
            Gateway::on(BRIDGE).bind_address(Ipv4Addr::UNSPECIFIED),
            vec![(Ipv4Addr::UNSPECIFIED, 17670).into()],
        ),
        (
            Gateway::on(BRIDGE).bind_address(Ipv6Addr::UNSPECIFIED),
            vec![bridge(17670), v6(Ipv6Addr::UNSPECIFIED)],
        ),
    ] {
        let gateway = gateway.port(17670).start(&host).await.unwrap();
        assert_eq!(listening(&host).await, expected);
        let mut announced = gateway.addresses().to_vec();
        announced.sort();
        assert_eq!(announced, expected);
        gateway.stop().await.unwrap();
    }
}

#[tokio::test]
async fn proxy_wants_a_token_for_all_but_its_tags() {
    let host = host_with_bridge().await;
    let proxy = OllamaProxy::new().start(&host).await.unwrap();
    assert_eq!(proxy.addresses(), [(Ipv4Addr::UNSPECIFIED, 11435).into()]);
    assert_eq!(listening(&host).await, proxy.addresses());
    let client = Client::of(&host);
    for address in [loopback(11435), bridge(11435)] {
        tags(&host, address).await.unwrap();
        let get = async |path, token| client.get(address, path, token).await.unwrap();
        assert_eq!(get("/api/tags", None).await.body, r#"{"models":[]}"#);
        assert_eq!(get("/api/version", None).await.status, 401);
        assert_eq!(get("/api/version", Some("wrong")).await.status, 401);
        assert_eq!(get("/api/version", Some(OllamaProxy::TOKEN)).await.status, 200);
        assert_eq!(get("/", None).await.status, 401);
    }
    assert!(proxy.log().contains("path=\"/api/tags\" status=200"), "{}", proxy.log());
    let taken = log_of_failed_start(OllamaProxy::new().start(&host).await);
    assert!(taken.contains("failed to bind to 0.0.0.0:11435"), "{taken}");
}

#[tokio::test]
async fn checks_tell_a_wrong_service_from_none() {
    let host = host_with_bridge().await;
    let none = health(&host, loopback(8080)).await;
    assert!(matches!(none, Err(CheckError::Connect { .. })), "{none:?}");
    let missing = health_over_tls(&host, loopback(8080), Identity::Anonymous).await;
    assert!(matches!(missing, Err(CheckError::Connect { .. })), "{missing:?}");
    let _proxy = OllamaProxy::new().port(8080).start(&host).await.unwrap();
    let wrong = health(&host, loopback(8080)).await;
    assert!(matches!(wrong, Err(CheckError::Http { .. })), "{wrong:?}");
    let _gateway = Gateway::on_loopback().port(11435).start(&host).await.unwrap();
    let wrong = tags(&host, loopback(11435)).await;
    assert!(matches!(wrong, Err(CheckError::Status { status: 404, .. })), "{wrong:?}");
    let no_certificates = health_over_tls(&host, loopback(8080), Identity::Anonymous).await;
    assert!(matches!(no_certificates, Err(CheckError::Certificates(_))), "{no_certificates:?}");
}

#[tokio::test]
async fn checks_end_in_time_when_nothing_answers() {
    let host = host_with_bridge().await;
    // The kernel completes the connection; nobody ever accepts it.
    let listener = host.network_namespace().run(|| std::net::TcpListener::bind(loopback(8080))).unwrap();
    let deadline = std::time::Duration::from_millis(200);
    let silent = Client::of(&host).deadline(deadline).health(loopback(8080)).await;
    assert!(matches!(silent, Err(CheckError::TimedOut { .. })), "{silent:?}");
    drop(listener);
}

#[tokio::test]
async fn service_that_is_killed_says_so_when_it_is_stopped() {
    let host = host_with_bridge().await;
    let gateway = Gateway::on(BRIDGE).start(&host).await.unwrap();
    host.command("kill").args(["-9", &gateway.pid().to_string()]).run().await.unwrap();
    let error = gateway.stop().await.unwrap_err();
    assert!(matches!(error, ServiceError::Ended { .. }), "{error:?}");
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

#[tokio::test]
async fn service_outlives_clients_that_leave() {
    let host = host_with_bridge().await;
    let proxy = OllamaProxy::new().start(&host).await.unwrap();
    let leave = || {
        let mut stream = std::net::TcpStream::connect(loopback(11435)).unwrap();
        // More answers than the connection takes before the service notices that nobody reads them.
        let _ = stream.write_all(&b"GET /api/tags HTTP/1.1\r\nhost: proxy\r\n\r\n".repeat(2000));
    };
    for _ in 0..5 {
        host.network_namespace().run(leave).unwrap();
        tags(&host, loopback(11435)).await.unwrap();
    }
    proxy.stop().await.unwrap();
}

#[tokio::test]
async fn dropped_service_ends() {
    let host = host_with_bridge().await;
    let gateway = Gateway::on(BRIDGE).start(&host).await.unwrap();
    let pid = gateway.pid().to_string();
    drop(gateway);
    // `tail --pid` ends when that process has ended, and `timeout` when it takes too long.
    let tail = ["5", "tail", "--pid", &pid, "-s", "0.01", "-f", "/dev/null"];
    host.command("timeout").args(tail).run().await.unwrap();
    assert!(listening(&host).await.is_empty());
}

#[tokio::test]
async fn service_ends_with_its_host() {
    let host = host_with_bridge().await;
    let gateway = Gateway::on(BRIDGE).start(&host).await.unwrap();
    let proxy = OllamaProxy::new().start(&host).await.unwrap();
    let pids = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", host.init_pid())).unwrap();
    let pids: Vec<_> = pids.split_whitespace().map(|pid| format!("/proc/{pid}")).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    host.shutdown().await.unwrap();
    for pid in pids {
        assert!(!std::path::Path::new(&pid).exists(), "{pid} is still there");
    }
    gateway.stop().await.unwrap();
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_host_has_its_own_services() {
    let started = (0..4).map(|_| async {
        let host = host_with_bridge().await;
        let gateway = Gateway::on(BRIDGE).mode(GatewayMode::MutualTls).start(&host).await.unwrap();
        let proxy = OllamaProxy::new().start(&host).await.unwrap();
        health_over_tls(&host, gateway.addresses()[1], Identity::Client).await.unwrap();
        tags(&host, bridge(11435)).await.unwrap();
        (host, gateway, proxy)
    });
    let started = futures_util::future::join_all(started).await;
    assert_eq!(started.len(), 4);
}

#[test]
fn a_name_alone_takes_no_program_over() {
    use std::os::unix::process::CommandExt;
    let itself = |arg0: &str| {
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg0(arg0).arg("--list").env_remove("OPENSHELL_HARNESS_STAND_IN");
        command
    };
    let named = itself("openshell-gateway").output().unwrap();
    assert!(String::from_utf8_lossy(&named.stdout).contains("a_name_alone"), "{named:?}");
    let configured = itself("service").env("OPENSHELL_HARNESS_STAND_IN", "{}").output().unwrap();
    assert!(String::from_utf8_lossy(&configured.stdout).contains("a_name_alone"), "{configured:?}");
    let both = itself("/usr/bin/openshell-gateway").env("OPENSHELL_HARNESS_STAND_IN", "{}").output().unwrap();
    assert_eq!(both.status.code(), Some(1), "{both:?}");
    assert!(String::from_utf8_lossy(&both.stderr).contains("OPENSHELL_HARNESS_STAND_IN"), "{both:?}");
}
