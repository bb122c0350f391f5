interface Target {
  verdict: string;
  cause: string | null;
  summary: string;
}

/** Upstream's reason for what the probe found; undefined where there was nothing to check. */
export function upstreamReason(target: Target) {
  switch (target.verdict) {
    case "ok":
      return "ok";
    case "skipped":
      return undefined;
    case "tcp_failed":
    case "wrong_service":
      return "tcp_failed";
  }
  switch (target.cause) {
    case "daemon_unreachable":
      return "docker_daemon_unreachable";
    case "probe_timeout":
      return "probe_timeout";
    case "engine_error":
      return /veth.*operation not supported/i.test(target.summary) ? "veth_unsupported" : "probe_unavailable";
    default:
      return "probe_unavailable";
  }
}

/** Whether upstream stops there: on everything but `ok` and `probe_unavailable`. */
export function stopsUpstream(target: Target) {
  return !["ok", "probe_unavailable", undefined].includes(upstreamReason(target));
}
