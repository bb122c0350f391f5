// A preflight as a project in JavaScript may have one: it asks Docker for the network's gateway and connects to it, from the host.
// Nothing but node's own library. It says in JSON what it found, and ends with 0 where it connected, 1 where not, 3 where it could
// not tell.
//
//   node preflight.mjs NETWORK PORT
import { request } from "node:http";
import { connect, isIPv4 } from "node:net";

const SOCKET = "/var/run/docker.sock";
const [network, port] = process.argv.slice(2);

/** What Docker answers to a GET. */
function ask(path) {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: SOCKET, path, timeout: 5000 }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (part) => (text += part));
      answer.on("end", () => resolve({ status: answer.statusCode, text }));
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer from Docker within 5 s")));
    asked.on("error", reject);
    asked.end();
  });
}

/** The network's IPv4 gateway. */
async function gateway() {
  const { status, text } = await ask(`/networks/${encodeURIComponent(network)}`);
  if (status !== 200) throw new Error(`Docker says ${status} of network ${network}`);
  const found = (JSON.parse(text).IPAM?.Config ?? []).map((it) => it.Gateway).find((it) => it && isIPv4(it));
  if (!found) throw new Error(`network ${network} has no IPv4 gateway`);
  return found;
}

/** Null where a connection came to be, else the reason: `ECONNREFUSED`, `timeout`, … */
function dial(host) {
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), timeout: 3000 });
    const end = (reason) => {
      socket.destroy();
      resolve(reason);
    };
    socket.on("connect", () => end(null));
    socket.on("timeout", () => end("timeout"));
    socket.on("error", (error) => end(error.code ?? error.message));
  });
}

try {
  const host = await gateway();
  const reason = await dial(host);
  console.log(JSON.stringify({ host, port: Number(port), reachable: reason === null, reason }));
  process.exitCode = reason === null ? 0 : 1;
} catch (error) {
  console.log(JSON.stringify({ reachable: null, reason: error.message }));
  process.exitCode = 3;
}
