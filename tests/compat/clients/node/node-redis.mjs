// node-redis: the calls of the Sentinel protocol, a writer and a reader that follow the primary, or
// one that counts at a plain address.

import { createClient, createSentinel } from "redis";
import {
  counted, errorOf, objectOf, portOf, portsOf, PROTOCOLS, repeat, say, settings, TIMEOUT_MS,
} from "./phases.mjs";

const { mode, name, sentinels } = settings;

async function calls(protocol) {
  const client = createClient({ RESP: protocol, socket: sentinels[0] });
  await client.connect();
  const ask = (...words) => client.sendCommand(["SENTINEL", ...words]);
  const [host, port] = await ask("GET-MASTER-ADDR-BY-NAME", name);
  const masters = (await ask("MASTERS")).map(objectOf);
  say("calls", protocol, {
    primary: [host, Number(port)],
    masters: masters.map((each) => each.name),
    replicas: portsOf((await ask("REPLICAS", name)).map(objectOf)),
    sentinels: portsOf((await ask("SENTINELS", name)).map(objectOf)),
    quorum: await ask("CKQUORUM", name),
    unknown: await errorOf(() => ask("MASTER", "unknown")),
    failover: protocol === 3 ? await ask("FAILOVER", name) : "",
  });
  client.destroy();
}

async function follow(protocol) {
  const timeouts = { socket: { connectTimeout: TIMEOUT_MS, reconnectStrategy: 50 } };
  const client = createSentinel({
    name,
    sentinelRootNodes: sentinels,
    RESP: protocol,
    nodeClientOptions: timeouts,
    sentinelClientOptions: timeouts,
    replicaPoolSize: 1,
    scanInterval: 500,
  });
  // Without a listener a broken connection ends the process.
  client.on("error", () => {});
  await client.connect();
  const key = `node-redis-${protocol}`;
  repeat("writes", protocol, (value) =>
    client.use(async (primary) => {
      await primary.set(key, String(value));
      return { port: portOf(await primary.info("server")), value };
    }),
  );
  repeat("reads", protocol, async () => {
    const value = Number(await client.get(key));
    return { port: portOf(await client.info("server")), value };
  });
}

async function plain(protocol) {
  const client = createClient({ RESP: protocol, socket: sentinels[0], disableOfflineQueue: true });
  client.on("error", () => {});
  await client.connect();
  repeat("plain", protocol, async (value) => {
    const seen = counted(await client.incr(`${name}:node-redis-${protocol}`), value);
    return { port: portOf(await client.info("server")), value: seen };
  });
}

for (const protocol of PROTOCOLS) {
  if (mode === "calls") await calls(protocol);
  else if (mode === "plain") await plain(protocol);
  else await follow(protocol);
}
