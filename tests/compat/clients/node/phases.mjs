// Turns the arguments of a program into its settings, and what it finds out into lines of JSON.

const LOOP_MS = 50;
const STEPS_A_LINE = 20;
export const TIMEOUT_MS = 1000;
export const PROTOCOLS = [2, 3];

const [, , mode, name, ports] = process.argv;
export const settings = {
  mode,
  name,
  sentinels: ports.split(",").map((port) => ({ host: "127.0.0.1", port: Number(port) })),
};

export function say(phase, protocol, facts) {
  process.stdout.write(`${JSON.stringify({ phase, protocol, ...facts })}\n`);
}

export function portOf(info) {
  return Number(/^tcp_port:(\d+)/m.exec(info)[1]);
}

export function portsOf(entries) {
  return entries.map((entry) => Number(entry.port)).sort((one, other) => one - other);
}

// Turns a flat reply of RESP2 into an object; one of RESP3 is an object, or a Map, already.
export function objectOf(reply) {
  if (reply instanceof Map) return Object.fromEntries(reply);
  if (!Array.isArray(reply)) return reply;
  const found = {};
  for (let at = 0; at < reply.length; at += 2) found[reply[at]] = reply[at + 1];
  return found;
}

export async function errorOf(call) {
  try {
    return `no error: ${JSON.stringify(await call())}`;
  } catch (error) {
    return error.message;
  }
}

// Returns a count that an increment must have had, or throws.
export function counted(seen, value) {
  if (seen !== value) throw new Error(`increment ${value} made ${seen}`);
  return seen;
}

// Repeats a step with counted values; says each instance that it reaches, once
// a second where it is, and errors.
export async function repeat(phase, protocol, step) {
  let lastPort = 0;
  let lastError = "";
  for (let value = 1; ; value += 1) {
    try {
      const { port, value: seen } = await step(value);
      const isDue = value % STEPS_A_LINE === 0;
      if (port !== lastPort || isDue) say(phase, protocol, { port, value: seen });
      [lastPort, lastError] = [port, ""];
    } catch (error) {
      if (error.message !== lastError) say("error", protocol, { during: phase, text: error.message });
      lastError = error.message;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOP_MS));
  }
}
