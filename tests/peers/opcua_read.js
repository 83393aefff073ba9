// Reads nodes with node-opcua and prints one JSON object a node; with --secure over Basic256Sha256, Sign & Encrypt.
// node opcua_read.js [--secure FOLDER] URL NODE …
const { OPCUAClient, SecurityPolicy, MessageSecurityMode, AttributeIds } = require(
  process.env.PEERS + "/node_modules/node-opcua-client",
);
const { OPCUACertificateManager } = require(process.env.PEERS + "/node_modules/node-opcua-certificate-manager");
const words = process.argv.slice(2);
const secure = words[0] === "--secure" ? words.splice(0, 2)[1] : null;
const [url, ...nodes] = words;

function plain(value) {
  // 64-bit integers come as two halves
  return Array.isArray(value) && value.length === 2 ? value[0] * 4294967296 + value[1] : value;
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
  const found = await session.read(nodes.map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })));
  found.forEach((one, i) =>
    console.log(
      JSON.stringify({
        node: nodes[i],
        value: one.value ? plain(one.value.value) : null,
        status: one.statusCode.name,
        source: one.sourceTimestamp,
      }),
    ),
  );
  await session.close();
  await client.disconnect();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.log(JSON.stringify({ error: error.message }));
    process.exit(1);
  },
);
