#!/usr/bin/env node
// Prints the predictions of a running spikeline, one per line; written from docs/bus.md alone.
// In: messages of a ZeroMQ PUB socket. Out, on stdout: predictions, gaps, restarts and silences.
import { parseArgs } from "node:util";
import { decode } from "@msgpack/msgpack";
import { Subscriber } from "zeromq";

const USAGE = "usage: client.mjs [ENDPOINT] [--stream NAME] [--count N] [--json]";
const SILENCE_MS = 1800; // a status comes every second: nothing for this long means gone or stuck

const { endpoint, stream, count, json } = readArguments();
const bus = new Subscriber({
  receiveHighWaterMark: 10, // these two together bound how far we can lag behind
  receiveBufferSize: 65536,
  receiveTimeout: SILENCE_MS,
  heartbeatInterval: 500, // without these a connection cut in the middle looks like silence for ever
  heartbeatTimeout: 1500,
});

let topics = []; // subscribed to
let searching = false; // hearing everything, until a message names a stream
let run = null; // run_id of the publisher we hear
let expected = {}; // by kind: the seq its next message must have
let seen = 0; // predictions printed
let silent = false;

listenTo(stream);
bus.connect(endpoint);
while (seen < count) {
  const parts = await receive();
  if (parts !== null) take(parts);
  else if (!silent) report("silence", { ms: SILENCE_MS }, `nothing heard for ${SILENCE_MS / 1000} s`);
  silent = parts === null; // said once; ZeroMQ goes on trying to connect
  if (silent) listenTo(stream); // the next publisher's stream may have another name
}
bus.close();

/** The parts of the next message, or null after a silence. */
async function receive() {
  try {
    return await bus.receive();
  } catch (error) {
    if (error.code === "EAGAIN") return null;
    throw error;
  }
}

/** Subscribe to what we print, or without a name to everything, to find out what there is. */
function listenTo(name) {
  const old = topics;
  searching = !name;
  // Status last, so that the other subscription holds when one comes; the last slash keeps cam10 out of cam1.
  topics = searching ? ["v1/"] : [`v1/${name}/prediction/`, `v1/${name}/status/`];
  if (topics.join() === old.join()) return;
  bus.subscribe(...topics);
  if (old.length) bus.unsubscribe(...old); // none at all would mean everything
}

function take(parts) {
  const [version, name, kind] = parts[0].toString().split("/");
  if (searching && version === "v1") listenTo(name);
  if (!["prediction", "status"].includes(kind)) return; // left over from the search
  let message;
  try {
    // Nanoseconds since 1970 lose their last digits as JS numbers; sequence numbers and sensor times do not.
    message = decode(parts[1]);
  } catch (error) {
    return report("malformed", { kind }, `not understood: ${error.message}`);
  }
  if (message?.schema !== 1) return report("malformed", { kind }, `schema ${message?.schema}, want 1`);
  if (message.run_id !== run) {
    if (run !== null) report("restart", { run_id: message.run_id }, `the publisher restarted: run ${message.run_id}`);
    expected = run === null ? {} : { prediction: 0, status: 0 }; // what came before we joined is no loss
    run = message.run_id;
  }
  account(kind, message.seq);
  expected[kind] = message.seq + 1;
  // A status tells what else has been sent: the only way to learn of a loss at the end.
  if (kind === "status") account("prediction", message.sequences.prediction);
  else show(message);
}

/** The next of this kind is `seq`, messages come in order: what lies between it and the one expected is lost. */
function account(kind, seq) {
  const lost = seq - (expected[kind] ?? seq);
  if (lost > 0) report("gap", { kind, lost, seq }, `lost ${lost} of ${kind} before seq ${seq}`);
  expected[kind] = seq;
}

function show({ epoch, seq, t_end_us, label, score }) {
  seen += 1; // times only grow within an epoch, so it is printed with them
  const text = `epoch ${epoch}  ${(t_end_us / 1e6).toFixed(6)} s  ${label ?? "-"}  ${score.toFixed(3)}`;
  report("prediction", { epoch, seq, t_end_us, label, score }, text);
}

function report(type, facts, text) {
  console.log(json ? JSON.stringify({ type, ...facts }) : type === "prediction" ? text : `# ${text}`);
}

function readArguments() {
  try {
    const options = { stream: { type: "string" }, count: { type: "string" }, json: { type: "boolean" } };
    const { values, positionals } = parseArgs({ allowPositionals: true, options });
    const count = Number(values.count ?? Infinity);
    if (!(count > 0) || positionals.length > 1) throw new Error("want at most one ENDPOINT, and N above 0");
    return { endpoint: positionals[0] ?? "tcp://127.0.0.1:5556", stream: values.stream, count, json: values.json };
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    process.exit(2);
  }
}
