// Reads nodes with node-opcua and prints one JSON object a node; with --secure over Basic256Sha256, Sign & Encrypt.
// With --follow it also subscribes to them, prints what it hears as {"heard": …}, and reads on until it is ended.
// node opcua_read.js [--secure FOLDER] [--follow] URL NODE …
const { OPCUAClient, SecurityPolicy, MessageSecurityMode, AttributeIds, TimestampsToReturn } = require(
  process.env.PEERS + "/node_modules/node-opcua-client",
);
const { OPCUACertificateManager } = require(process.env.PEERS + "/node_modules/node-opcua-certificate-manager");
const words = process.argv.slice(2);
const secure = words[0] === "--secure" ? words.splice(0, 2)[1] : null;
const follows = words[0] === "--follow" && words.shift() !== undefined;
const [url, ...nodes] = words;
const say = (what) => console.log(JSON.stringify(what));

function plain(value) {
  // 64-bit integers come as two halves
  return Array.isArray(value) && value.length === 2 ? value[0] * 4294967296 + value[1] : value;
}

function shown(node, one) {
  const value = one.value ? plain(one.value.value) : null;
  return { node, value, status: one.statusCode.name, source: one.sourceTimestamp };
}

async function read(session) {
  const found = await session.read(nodes.map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })));
  found.forEach((one, i) => say(shown(nodes[i], one)));
}

async function follow(client, session) {
  client.on("connection_lost", () => say({ heard: "connection lost" }));
  const subscription = await session.createSubscription2({
    requestedPublishingInterval: 50,
    requestedMaxKeepAliveCount: 4,
    requestedLifetimeCount: 6000,
    publishingEnabled: true,
  });
  subscription.on("keepalive", () => say({ heard: "keep-alive" }));
  for (const nodeId of nodes) {
    const item = await subscription.monitor(
      { nodeId, attributeId: AttributeIds.Value },
      { samplingInterval: 50, queueSize: 10, discardOldest: true },
      TimestampsToReturn.Both,
    );
    item.on("changed", (one) => say({ heard: "value", ...shown(nodeId, one) }));
  }
  while (true) {
    await new Promise((done) => setTimeout(done, 200));
    await read(session).catch((error) => say({ error: error.message }));
  }
}

async function main() {
  const options = { endpointMustExist: false, connectionStrategy: { maxRetry: 0 }, keepSessionAlive: false };
  if (secure) {
    options.securityPolicy = SecurityPolicy.Basic256Sha256;
    options.securityMode = MessageSecurityMode.SignAndEncrypt;
    options.clientCertificateManager = new OPCUACertificateManager({
      rootFolder: secure,
      automaticallyAcceptUnknownCertificate: true,
    });
    await options.clientCertificateManager.initialize();
  }
  const client = OPCUAClient.create(options);
  await client.connect(url);
  const session = await client.createSession();
  await read(session);
  if (follows) await follow(client, session);
  await session.close();
  await client.disconnect();
}

main().then(
  () => process.exit(0),
  (error) => {
    say({ error: error.message });
    process.exit(1);
  },
);
