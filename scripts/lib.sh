# shellcheck shell=bash
# What the scripts share; sourced by each. Talk goes to standard error: `==> ` begins a step, `error: ` ends a script, and
# a `hint: ` after a blank line says what to do.

set -euo pipefail

# Where a relative path of the caller's begins.
caller=$PWD
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"

# `su` without `-` leaves these out, and apt, modprobe and chroot are in them; rustup puts cargo where only the next
# login finds it.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"

# Either would replace the flags of .cargo/config.toml, and with them the static link.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET

# --- Messages ---------------------------------------------------------------------------------------------------------

# On a terminal cargo shows how far it is; a log has no use for two hundred lines of that.
quiet=()
[[ -t 2 ]] || quiet=(--quiet)

talk() { printf '%s\n' "$*" >&2; }

say() { talk "==> $*"; }

# fail MESSAGE [HINT]…
fail() {
  talk "error: $1"
  shift
  (($# == 0)) || talk ""
  local hint
  for hint in "$@"; do talk "hint: $hint"; done
  doing=
  exit 1
}

# usage "$@" <<'TEXT': prints it for --help. A script that takes arguments reads them itself, after this.
usage() {
  usage_text=$(cat)
  case ${1:-} in
    -h | --help)
      printf '%s\n' "$usage_text"
      exit 0
      ;;
  esac
}

wrong_usage() {
  talk "error: $1"
  talk ""
  talk "$usage_text"
  exit 2
}

# The caller's path as one that holds anywhere.
from_caller() { (cd -- "$caller" && realpath -m -- "$1"); }

# --- Steps ------------------------------------------------------------------------------------------------------------

milliseconds() {
  local now=${EPOCHREALTIME/[.,]/}
  printf '%s' "$((now / 1000))"
}

seconds() { printf '%d.%d s' "$(($1 / 1000))" "$(($1 % 1000 / 100))"; }

doing=
step_start=
steps=()

# Between `begin WHAT` and `end` a failure is reported as the failure of WHAT. Not `step && …`: errexit has to stay on.
begin() {
  doing=$1
  step_start=$(milliseconds)
  say "$doing"
}

end() {
  local time
  time=$(seconds "$(($(milliseconds) - step_start))")
  steps+=("$(printf '%9s  %s' "$time" "$doing")")
  talk "    $time"
  doing=
}

# step WHAT COMMAND…
step() {
  begin "$1"
  shift
  "$@"
  end
}

# What a script adds to do at its end, however it ends.
at_exit=()

on_exit() {
  local code=$? task
  # An interrupted `sudo` or a failed clean-up changes nothing about the answer.
  set +e
  if ((code != 0)) && [[ -n $doing ]]; then talk "error: $doing failed (exit code $code)"; fi
  for task in "${at_exit[@]}"; do "$task"; done
  exit "$code"
}
trap on_exit EXIT

# --- Root -------------------------------------------------------------------------------------------------------------

# Where images are; the programs read the same variables. Given to root explicitly, or it would be root's own.
cache=${OPENSHELL_HARNESS_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/openshell-harness}
[[ $cache == /* ]] || cache=$PWD/$cache
export OPENSHELL_HARNESS_CACHE=$cache

# What root's programs are given of the caller's environment. Nothing of cargo's: root builds nothing.
passed_on=(
  OPENSHELL_HARNESS_CACHE OPENSHELL_HARNESS_MIRROR
  CI NO_COLOR COLORTERM TERM RUST_BACKTRACE CHROMEWEBDRIVER
  http_proxy https_proxy no_proxy
  OPENSHELL_PROBE_BIN OPENSHELL_ACCEPT_ANY_BUILD OPENSHELL_GATEWAY_BIN OPENSHELL_GATEWAY_DEFINITION OPENSHELL_IMAGE
  OPENSHELL_RESULTS OPENSHELL_SCREENSHOTS
)

# Runs a command as root: directly, or by sudo when the caller is an ordinary user.
as_root() {
  if ((EUID == 0)); then
    "$@"
    return
  fi
  local name given=()
  for name in "${passed_on[@]}"; do
    [[ -z ${!name:-} ]] || given+=("$name=${!name}")
  done
  sudo -n -- env "${given[@]}" "$@"
}

# need_root WHAT: stops here rather than after minutes of compiling.
need_root() {
  if ((EUID == 0)); then
    # `sudo scripts/…` would leave a target/ that its owner can neither build in nor remove.
    if [[ -n ${SUDO_UID:-} && $SUDO_UID != 0 && $(stat -c %u .) == "$SUDO_UID" ]]; then
      fail "sudo would make root the owner of what is built here" \
        "run it without sudo: it asks sudo for the steps that need root"
    fi
    return
  fi
  command -v sudo >/dev/null ||
    fail "$1 takes root, you are $(id -un), and there is no sudo here" "run it as root: su -c $0"
  sudo -n true 2>/dev/null ||
    fail "$1 takes root, and sudo asks for a password here" \
      "sudo -v && $0   (sudo then remembers the password for a while)" \
      "or allow it for good, in a file of /etc/sudoers.d: $(id -un) ALL=(ALL) NOPASSWD: ALL"
}

# --- Tools ------------------------------------------------------------------------------------------------------------

# need_rust [COMPONENT]…
# shellcheck disable=SC2120 # only scripts/test names components
need_rust() {
  command -v rustc >/dev/null || fail "there is no Rust here" \
    "install it from https://rustup.rs, then run this again"
  local needed found component
  needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  found=$(rustc --version | cut -d' ' -f2)
  printf '%s\n' "$needed" "${found%%-*}" | sort -CV ||
    fail "Rust $needed or later is needed, and this is $found" "rustup update stable"
  for component in "$@"; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 ||
      fail "Rust has no $component here" "rustup component add $component"
  done
}

packages=()
reasons=()

# What apt calls it, and what it is for; nothing here brings a service. Installed when missing, after saying so.
missing() {
  packages+=("$1")
  reasons+=("    $1: $2")
}

# For the tests that open a page in a browser. It is large, so only the long profile asks for it, and another system does without.
want_browser() {
  command -v chromedriver >/dev/null || [[ -x ${CHROMEWEBDRIVER:-}/chromedriver ]] || ! on_debian || {
    missing chromium "opens the page of a run"
    missing chromium-driver "drives it"
  }
}

# What building takes, and what hosts take.
need_tools() {
  if ! command -v cc >/dev/null; then
    missing gcc "links the programs"
    missing libc6-dev "the static C library that goes into them"
  elif [[ $(cc -print-file-name=libc.a) != /* ]]; then
    missing libc6-dev "the static C library that goes into the programs"
  fi
  need_host_tools
}

need_host_tools() {
  command -v mmdebstrap >/dev/null || missing mmdebstrap "builds the root filesystem of the hosts"
  # The images are Debians: on another distribution their signatures are checked with keys of this package.
  compgen -G "/usr/share/keyrings/debian-archive-keyring.*" >/dev/null ||
    missing debian-archive-keyring "checks the signatures of what goes into it"
  ((${#packages[@]})) || return 0

  local name
  name=$(os_release PRETTY_NAME)
  if ! on_debian; then
    fail "missing here (named as Debian names them): ${packages[*]}" \
      "these scripts install on Debian and Ubuntu only, and this is ${name:-an unknown system}" \
      "on Fedora and RHEL: dnf install gcc glibc-static mmdebstrap debian-keyring"
  fi
  say "packages of $name are missing; none of them runs a service"
  talk "$(printf '%s\n' "${reasons[@]}")"
  step "updating apt's lists" said_on_failure as_root apt-get update -qq
  step "installing ${packages[*]}" said_on_failure as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${packages[@]}"
}

# Runs a command that says more than anybody reads.
said_on_failure() {
  local said
  said=$("$@" 2>&1) || {
    local code=$?
    talk "$said"
    return "$code"
  }
}

os_release() {
  # shellcheck source=/dev/null
  (source /etc/os-release 2>/dev/null && printf '%s' "${!1:-}")
}

on_debian() {
  command -v apt-get >/dev/null &&
    [[ " $(os_release ID) $(os_release ID_LIKE) " =~ \ (debian|ubuntu)\  ]]
}

# For what runs an archive: nothing is compiled there.
have_nextest() {
  command -v cargo-nextest >/dev/null || fail "there is no cargo-nextest here, which runs the tests" \
    "https://nexte.st has it ready-made; or: cargo install --locked cargo-nextest, which takes minutes"
  need_nextest
}

# Found by its path: root's PATH is another one.
need_nextest() {
  if ! command -v cargo-nextest >/dev/null; then
    say "installing cargo-nextest, which runs the tests, into ${CARGO_HOME:-$HOME/.cargo}/bin"
    talk "    it is compiled once, which takes some minutes; https://nexte.st has it ready-made"
    step "compiling cargo-nextest" cargo install "${quiet[@]}" --locked cargo-nextest
  fi
  # shellcheck disable=SC2034 # scripts/test runs it
  nextest=$(command -v cargo-nextest)
}

# --- Programs, kernel, image ------------------------------------------------------------------------------------------

target_folder() {
  cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# The folder of the built programs: programs PROFILE [TRIPLE].
programs() {
  local triple
  triple=${2:-$(rustc -vV | sed -n 's/^host: //p')}
  printf '%s/%s/%s' "$(target_folder)" "$triple" "$1"
}

# `openshell-harness`, once a script has built it.
harness=

# A field of a finding of the doctor, who ends with 1 when there is something to find: finding WHAT FIELD.
finding() {
  { as_root "$harness" doctor --json || true; } | awk -v what="$1" -v field="$2" '
    match($0, /"[a-z_]+": "/) {
      name = substr($0, RSTART + 1, RLENGTH - 5)
      value = substr($0, RSTART + RLENGTH); sub(/",?$/, "", value)
      if (name == "what") inside = (value == what)
      else if (inside && name == field) print value
    }'
}

# Makes the machine ready for hosts.
need_machine() {
  # Made by the caller, so that ~/.cache is not root's.
  mkdir -p "$cache"
  # No host ever loads a kernel module: that would be a change to the machine which outlives the host.
  if [[ $(finding kernel severity) == blocked ]]; then
    local modules
    read -ra modules <<<"$(finding kernel found | sed 's/^not loaded: //')"
    say "loading kernel modules that hosts need, until the next reboot: ${modules[*]}"
    as_root modprobe -a "${modules[@]}" ||
      fail "the kernel modules could not be loaded" "$(finding kernel way_out)" \
        "inside a container that has to be done on the machine around it"
  fi
  if [[ $(finding "image debian-13" severity) != ok ]]; then
    step "building the hosts' root filesystem in $cache, once: a minute, 400 MB" \
      as_root "$harness" image build debian-13
  else
    step "verifying the hosts' root filesystem in $cache" as_root "$harness" image verify debian-13
  fi
  local report
  report=$(as_root "$harness" doctor) || fail "no host can be made here:
$report" "in a container: --privileged --cgroupns=host"
}

# --- Tests ------------------------------------------------------------------------------------------------------------

# A temporary folder, of a script that makes one.
scratch=

# What nextest is told of the tests: it needs no cargo then.
prepared=()

# Lists the built tests into $scratch.
prepare_tests() {
  cargo metadata --format-version 1 --locked >"$scratch/cargo.json"
  cargo nextest list --cargo-quiet --locked --workspace --list-type binaries-only --message-format json \
    >"$scratch/binaries.json"
  prepared=(--cargo-metadata "$scratch/cargo.json" --binaries-metadata "$scratch/binaries.json")
}

# Unpacks what scripts/archive made into $scratch, with the programs in $unpacked. Not `--archive-file`: nextest would
# unpack anew for every command, and tell nobody where.
unpack_tests() {
  local folder=$scratch/unpacked
  mkdir "$folder"
  "$nextest" nextest list --archive-file "$1" --extract-to "$folder" --workspace-remap "$root" \
    --list-type binaries-only --message-format json >"$scratch/binaries.json"
  prepared=(
    --cargo-metadata "$folder/target/nextest/cargo-metadata.json"
    --binaries-metadata "$folder/target/nextest/binaries-metadata.json"
    --target-dir-remap "$folder/target" --workspace-remap "$root"
  )
  local programs=("$folder"/target/*/debug/openshell-harness)
  [[ -x ${programs[0]} ]] || fail "there is no openshell-harness in $1" "scripts/archive makes it anew"
  # shellcheck disable=SC2034 # the scripts that call this use it
  unpacked=${programs[0]%/*}
}

# Reports go to $scratch/store/PROFILE/junit.xml instead of the checkout's target/, where an earlier run's may be.
report_into_scratch() {
  { cat .config/nextest.toml && printf '\n[store]\ndir = "%s"\n' "$scratch/store"; } >"$scratch/nextest.toml"
  prepared+=(--config-file "$scratch/nextest.toml")
}

# Runs them: run_prepared_tests ARGUMENT… Nextest itself runs as root: it could not end a test of another user that takes
# too long. It is told what cargo built. (A `runner = "sudo"` for each test would also hide from it
# who holds a test's pipes: leaks.) insta asks cargo where the workspace is unless it is told, and writes new snapshots
# beside the sources.
run_prepared_tests() {
  [[ -e $scratch/root-was-here ]] || touch "$scratch/root-was-here"
  as_root env INSTA_WORKSPACE_ROOT="$root" INSTA_UPDATE=no "$nextest" nextest run "${prepared[@]}" "$@"
}

# For the end of a script that runs tests: hand_back FOLDER… Root writes reports, and what a failing test leaves beside the
# sources: snapshots, and the counterexamples of proptest. Then $scratch is removed.
hand_back() {
  if ((EUID == 0)); then
    rm -rf -- "$scratch"
  elif [[ -e $scratch/root-was-here ]]; then
    as_root find "$@" -xdev -user root -newer "$scratch/root-was-here" -exec chown -h "$(id -u):$(id -g)" {} +
    as_root rm -rf -- "$scratch"
  else
    rm -rf -- "$scratch"
  fi
}

# Folders where something else may write while the tests run. Cargo's and rustup's caches; a checkout below /root or /opt.
allowed=("$root" "${CARGO_HOME:-${HOME:-/root}/.cargo}" "${RUSTUP_HOME:-${HOME:-/root}/.rustup}")

take_fingerprint() { as_root "$harness" fingerprint take >"$scratch/machine.json"; }

# What begins and ends by itself, such as a timer's service, is gone a moment later. What a test left is not. Groups of
# hosts that an earlier run left are swept by the first host of this one: their absence is no difference.
machine_is_as_it_was() {
  local try folders=() folder
  for folder in "${allowed[@]}"; do folders+=(--allow "$folder"); done
  for try in 1 2 3; do
    as_root "$harness" fingerprint compare "$scratch/machine.json" "${folders[@]}" >"$scratch/compared" 2>&1 && return
    # Without a word it has not compared anything.
    [[ -s $scratch/compared ]] || echo "the comparison failed" >"$scratch/compared"
    grep -vE '^control groups: - .*/openshell-harness\.' "$scratch/compared" >"$scratch/differences" || return 0
    ((try == 3)) || sleep 2
  done
  cat "$scratch/differences" >&2
  return 1
}
