// Print what a node reports: npm install zeromq@6, then node subscriber.mjs [ENDPOINT].
import { Subscriber } from "zeromq";

const socket = new Subscriber();
socket.connect(process.argv[2] ?? "tcp://127.0.0.1:5555");
socket.subscribe("v1/");

const lastSeq = new Map();
for await (const [topic, payload] of socket) {
  const name = topic.toString();
  const message = JSON.parse(payload.toString());

  // Numbers count from 1 per start of the daemon and topic; a gap is a loss.
  const key = `${message.boot} ${name}`;
  const last = lastSeq.get(key);
  if (!message.cached) {
    if (last !== undefined && message.seq > last + 1) {
      console.log(`${message.seq - last - 1} messages of ${name} were lost`);
    }
    lastSeq.set(key, Math.max(last ?? 0, message.seq));
  }

  if (name.startsWith("v1/detections/")) {
    console.log(message.camera, message.objects.map((o) => `${o.label} ${o.score}`).join(", "));
  } else if (name.startsWith("v1/tracks/")) {
    console.log(message.camera, message.change, message.label, message.place);
  } else if (name.startsWith("v1/status/")) {
    console.log(message.camera, message.state, message.reason);
  }
}
