//! Files as Debian, Ubuntu and Fedora have them, and files that nobody should have.

use std::fs;

use super::*;

/// A root folder with these files.
fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn said(files: &[(&str, &[u8])], cause: Cause) -> Vec<String> {
    let root = root(files);
    suspects(root.path(), Some(cause)).into_iter().map(|it| it.text).collect()
}

const ON: (&str, &[u8]) = ("etc/ufw/ufw.conf", b"# /etc/ufw/ufw.conf\nENABLED=yes\nLOGLEVEL=low\n");

fn defaults(policy: &str) -> Vec<u8> {
    format!("IPV6=yes\nDEFAULT_INPUT_POLICY=\"{policy}\"\nDEFAULT_OUTPUT_POLICY=\"ACCEPT\"\n").into_bytes()
}

#[test]
fn ufw_is_a_suspect_where_it_is_enabled_and_does_such_a_thing() {
    let of = |policy: &str, cause| said(&[ON, ("etc/default/ufw", &defaults(policy))], cause).remove(0);
    let suspected = "UFW is enabled and drops what comes in unless one of its rules allows it";
    assert_eq!(of("DROP", Cause::Dropped), suspected);
    assert!(of("REJECT", Cause::Rejected).contains("and refuses what comes in"));
    assert!(of("DROP", Cause::Rejected).contains("by its default policy, DROP, it is not the one"));
    assert!(of("ACCEPT", Cause::Dropped).contains("by a rule of its own it may be"));
    assert!(said(&[ON], Cause::Dropped)[0].contains("could not be read"));
}

#[test]
fn ufw_is_not_named_where_it_is_off_or_missing_or_nothing_is_blamed() {
    let drop = defaults("DROP");
    for switch in [
        "ENABLED=no\n",
        "",
        "#ENABLED=yes\n",
        "ENABLED=yes\nENABLED=no\n",
        "ENABLED=$(echo yes)\n",
        "\u{0}\u{7f}",
    ] {
        let files: [(&str, &[u8]); 2] = [("etc/ufw/ufw.conf", switch.as_bytes()), ("etc/default/ufw", &drop)];
        assert!(said(&files, Cause::Dropped).is_empty(), "{switch:?}");
    }
    assert!(said(&[("etc/default/ufw", &drop)], Cause::Dropped).is_empty());
    for cause in [Cause::ReplyDropped, Cause::NotListening, Cause::WrongBind, Cause::Inconclusive] {
        assert!(said(&[ON, ("etc/default/ufw", &drop)], cause).is_empty(), "{cause:?}");
    }
    assert!(suspects(root(&[ON]).path(), None).is_empty());
}

#[test]
fn firewalld_is_a_suspect_where_it_starts_or_runs_with_the_zone_that_is_readable() {
    let public: (&str, &[u8]) =
        ("usr/lib/firewalld/zones/public.xml", b"<?xml version=\"1.0\"?>\n<zone>\n</zone>");
    let unit: (&str, &[u8]) = ("etc/systemd/system/multi-user.target.wants/firewalld.service", b"");
    let runs: (&str, &[u8]) = ("proc/17/comm", b"firewalld\n");
    let init: (&str, &[u8]) = ("proc/1/comm", b"systemd\n");
    assert!(
        said(&[unit, init, public], Cause::Rejected).is_empty(),
        "processes are seen, and it is none of them"
    );
    for sign in [unit, runs] {
        let said = said(&[sign, public], Cause::Rejected);
        assert_eq!(
            said,
            [
                "firewalld is in use; its default zone is probably public, which refuses what it does not allow"
            ]
        );
    }
    let conf: (&str, &[u8]) = ("etc/firewalld/firewalld.conf", b"# c\nDefaultZone=work\n");
    let drop: (&str, &[u8]) = ("etc/firewalld/zones/work.xml", b"<zone target=\"DROP\" version='1'>");
    assert!(
        said(&[unit, conf, drop], Cause::Dropped)[0]
            .ends_with("zone is work, which drops what it does not allow")
    );
    assert!(said(&[unit, conf, drop], Cause::Rejected)[0].ends_with("which does not do this by itself"));
    assert!(said(&[unit, conf], Cause::Rejected)[0].ends_with("its zones could not be read"));
    let accept: (&str, &[u8]) = ("etc/firewalld/zones/work.xml", b"<zone target='ACCEPT'>");
    assert!(said(&[unit, conf, accept], Cause::Rejected)[0].ends_with("which lets everything in"));
    assert!(said(&[public, conf], Cause::Rejected).is_empty(), "it neither starts nor runs");
    let outside: (&str, &[u8]) = ("etc/firewalld/firewalld.conf", b"DefaultZone=../../../etc/x\n");
    assert!(said(&[unit, public, outside], Cause::Rejected)[0].contains("probably public"));
}

#[test]
fn nftables_file_is_a_suspect_where_it_is_loaded_and_stops_what_comes_in() {
    let unit: (&str, &[u8]) = ("etc/systemd/system/sysinit.target.wants/nftables.service", b"");
    let of = |text: &str, cause| said(&[unit, ("etc/nftables.conf", text.as_bytes())], cause);
    let policy = "flush ruleset\ntable inet filter {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n";
    assert_eq!(
        of(policy, Cause::Dropped),
        ["nftables' own file has a chain for incoming packets whose policy is drop"]
    );
    assert!(of(policy, Cause::Rejected).is_empty(), "a policy refuses nobody");
    let rule =
        "table inet f { chain in { type filter hook input priority 0; tcp dport 8080 reject # why\n } }";
    assert!(of(rule, Cause::Rejected)[0].ends_with("with a rule that rejects"));
    assert!(of(rule, Cause::Dropped).is_empty());
    let debian = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; # policy drop;\n\t}\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
    assert!(of(debian, Cause::Dropped).is_empty(), "another hook's policy, and a comment");
    assert!(said(&[("etc/nftables.conf", policy.as_bytes())], Cause::Dropped).is_empty(), "nothing loads it");
}

#[test]
fn files_that_are_none_hold_nothing_up() {
    let root = root(&[]);
    let folder = root.path().join("etc/ufw");
    fs::create_dir_all(root.path().join("etc/default")).unwrap();
    fs::create_dir_all(&folder).unwrap();
    nix::unistd::mkfifo(&folder.join("ufw.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(suspects(root.path(), Some(Cause::Dropped)).is_empty());
    fs::remove_file(folder.join("ufw.conf")).unwrap();
    fs::write(folder.join("ufw.conf"), b"\xff\xfe\nENABLED=yes\n\xff").unwrap();
    std::os::unix::fs::symlink("/dev/zero", root.path().join("etc/default/ufw")).unwrap();
    let found = suspects(root.path(), Some(Cause::Dropped));
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].tool, found[0].inferred, found[0].files.as_slice()),
        (SuspectTool::Ufw, true, &["/etc/ufw/ufw.conf".to_owned()][..])
    );
}
