// ioredis: the calls of the Sentinel protocol, a writer and a reader that follow the primary, or
// one that counts at a plain address.

import { Redis } from "ioredis";
import {
  counted, errorOf, objectOf, portOf, portsOf, PROTOCOLS, repeat, say, settings, TIMEOUT_MS,
} from "./phases.mjs";

const { mode, name, sentinels } = settings;

async function calls(protocol) {
  const sentinel = new Redis({ ...sentinels[0], protocol });
  const ask = (...words) => sentinel.call("sentinel", ...words);
  const [host, port] = await ask("get-master-addr-by-name", name);
  const masters = (await ask("masters")).map(objectOf);
  say("calls", protocol, {
    primary: [host, Number(port)],
    masters: masters.map((each) => each.name),
    replicas: portsOf((await ask("replicas", name)).map(objectOf)),
    sentinels: portsOf((await ask("sentinels", name)).map(objectOf)),
    quorum: await ask("ckquorum", name),
    unknown: await errorOf(() => ask("master", "unknown")),
    failover: protocol === 3 ? await ask("failover", name) : "",
  });
  sentinel.disconnect();
}

function follow(protocol) {
  const options = {
    sentinels,
    name,
    protocol,
    connectTimeout: TIMEOUT_MS,
    commandTimeout: TIMEOUT_MS,
    sentinelRetryStrategy: () => 50,
    retryStrategy: () => 50,
  };
  const key = `ioredis-${protocol}`;
  const writer = new Redis(options);
  const reader = new Redis({ ...options, role: "slave" });
  // Without a listener the library prints each broken connection.
  writer.on("error", () => {});
  reader.on("error", () => {});
  repeat("writes", protocol, async (value) => {
    await writer.set(key, value);
    return { port: portOf(await writer.info("server")), value };
  });
  repeat("reads", protocol, async () => {
    const value = Number(await reader.get(key));
    return { port: portOf(await reader.info("server")), value };
  });
}

function plain(protocol) {
  // Retries would hide what the address must not show.
  const client = new Redis({ ...sentinels[0], protocol, maxRetriesPerRequest: 0 });
  client.on("error", () => {});
  repeat("plain", protocol, async (value) => {
    const seen = counted(await client.incr(`${name}:ioredis-${protocol}`), value);
    return { port: portOf(await client.info("server")), value: seen };
  });
}

for (const protocol of PROTOCOLS) {
  if (mode === "calls") await calls(protocol);
  else if (mode === "plain") plain(protocol);
  else follow(protocol);
}
