import { spawnSync } from "node:child_process";

interface Options {
  port: string; // "8080=gateway" or "11435=ollama-proxy"
  path: string; // fresh, reused, adopted, managed-service, outer-reuse or inference
  exitOnFailure: boolean;
  probe?: string;
  timeoutMs?: number;
}

interface Report {
  targets: { verdict: string; cause: string | null; summary: string; hints: string[] }[];
}

/** Silent when sandboxes reach the port. Otherwise the probe has told the user why, on standard error, when this returns. */
export function verifySandboxBridgeGatewayReachableOrExit(options: Options) {
  const { port, path, exitOnFailure, probe = "openshell-probe", timeoutMs = 90_000 } = options;
  const ended = spawnSync(probe, ["preflight", "--port", port, "--path", path, "--format", "json"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  let report: Report | undefined;
  try {
    report = JSON.parse(ended.stdout) ?? undefined;
  } catch {} // What is no report is none, whatever program it was.
  if (ended.status === 0 && report) return report;
  if (!ended.status) {
    const why = ended.error?.message ?? (ended.signal ? `ended by ${ended.signal}` : "no report");
    console.warn(`warning: could not verify that sandboxes reach ${port}: ${probe}: ${why}; going on`);
    return undefined;
  }
  if (exitOnFailure) process.exit(1);
  const why = report?.targets.flatMap((target) => [target.summary, ...target.hints]).join("; ");
  throw new Error(`the preflight of ${port} says stop (exit code ${ended.status}): ${why ?? "see its message"}`);
}
