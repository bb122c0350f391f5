//! The journal's place and its entries, as somebody else could leave them.

use anyhow::{Result, ensure};

use super::{ALLOW, BOTH, FOLDER, denied, fix, rules, run, sh, undo_to};

/// What somebody does to the journal's place before a fix, and what the fix says of it.
const PLACES: [(&str, &str); 5] = [
    ("mkdir -m 700 /root/else && ln -s /root/else /var/lib/openshell-probe", "(openshell-probe)"),
    ("mkdir -p -m 755 /var/lib/openshell-probe", "openshell-probe is not root's alone: mode 0755, owner 0"),
    (
        "mkdir -m 700 /var/lib/openshell-probe; install -d -m 700 -o 1000 $FOLDER",
        "fixes is not root's alone: mode 0700, owner 1000",
    ),
    (
        "mkdir -m 700 /var/lib/openshell-probe && mount -t tmpfs -o ro,mode=700 none /var/lib/openshell-probe",
        "Read-only file system",
    ),
    (
        "mkdir -m 700 /var/lib/openshell-probe $FOLDER && mount -t tmpfs -o mode=700,size=8k none $FOLDER && \
        dd if=/dev/zero of=$FOLDER/other bs=4k status=none || :",
        "No space left on device",
    ),
];

/// What somebody does to an entry, and what an undo says of it. `$FILE` is the entry of port 11435.
const ENTRIES: [(&str, &str); 8] = [
    ("chown 1000 $FILE", "is not root's alone: mode 0600, owner 1000"),
    ("chmod 644 $FILE", "is not root's alone: mode 0644, owner 0"),
    ("mv $FILE $FILE.real; ln -s $FILE.real $FILE", "symbolic link"),
    ("rm $FILE; mkfifo -m 600 $FILE", "is not root's alone"),
    ("echo garbage >$FILE", "is no entry of this program's"),
    ("sed -i s/11435/11436/ $FILE", "is no entry of this program's"),
    (
        "sed -i 's/\"form\":1,\"version\":\"[^\"]*\"/\"form\":7,\"version\":\"8.8.8\",\"more\":1/' $FILE",
        "hint: undo with openshell-probe 8.8.8 or later",
    ),
    ("sed -i 's/\"machine\":\"0/\"machine\":\"f/' $FILE", "was written on another machine"),
];

#[tokio::test]
async fn a_journal_that_is_not_its_own_stops_it() -> Result<()> {
    let lab = denied().await?;
    sh(&lab, "echo 00000000000000000000000000000000 >/etc/machine-id").await?;
    let before = rules(&lab).await?;
    let script = |line: &str| {
        let file = format!("{FOLDER}/ufw-172.18.0.0-16-172.18.0.1-11435.json");
        format!("FOLDER={FOLDER} FILE={file}; {line}")
    };
    for (line, wanted) in PLACES {
        sh(&lab, &script(line)).await?;
        let (code, said) = fix(&lab, &["--yes"], None).await?;
        ensure!(code == Some(3) && said.contains("the journal") && said.contains(wanted), "{line}: {said}");
        ensure!(said.contains("\nhint: "), "{line}: {said}");
        ensure!(rules(&lab).await? == before, "{line}");
        ensure!(sh(&lab, "ls -A /root/else").await?.is_empty(), "{line}");
        sh(
            &lab,
            &script(
                "umount $FOLDER || umount /var/lib/openshell-probe || :; rm -rf /var/lib/openshell-probe",
            ),
        )
        .await?;
    }
    let (code, said) = run(&lab, &[&BOTH[..], &["--yes"]].concat()).await?;
    ensure!(code == Some(0), "{said}");
    sh(&lab, &format!("cp -a {FOLDER} /root/entries")).await?;
    for (line, wanted) in ENTRIES {
        sh(&lab, &script(line)).await?;
        let (code, said) = run(&lab, &["fix", "--undo"]).await?;
        ensure!(
            code == Some(3) && said.contains(wanted) && !said.contains("nothing to undo"),
            "{line}: {said}"
        );
        // The other one does not suffer by it.
        ensure!(said.contains(&format!("removed: ufw {ALLOW}")), "{line}: {said}");
        if line.contains("garbage") {
            let (code, said) = fix(&lab, &["--yes"], None).await?;
            ensure!(code == Some(3) && said.contains(wanted), "{line}: {said}");
        }
        let now = rules(&lab).await?;
        ensure!(now.contains("### tuple ### allow tcp 11435") && !now.contains("tcp 8080"), "{line}: {now}");
        sh(&lab, &format!("rm -rf {FOLDER} && cp -a /root/entries {FOLDER} && ufw {ALLOW}")).await?;
    }
    undo_to(&lab, &before, "as it was").await?;
    Ok(())
}
