// A node-opcua server with SignAndEncrypt only: a counter that changes every 50 ms and keeps a history, a set value.
// node opcua_serve.js PORT FOLDER; says "ready URL" on stdout. Killing and starting it with the same folder keeps
// its certificate.
const need = (name) => require(process.env.PEERS + "/node_modules/" + name);
const { OPCUAServer } = need("node-opcua-server");
const { OPCUACertificateManager } = need("node-opcua-certificate-manager");
const { MessageSecurityMode, SecurityPolicy } = need("node-opcua-secure-channel");
const { Variant, DataType } = need("node-opcua-variant");
const [port, folder] = process.argv.slice(2);

async function main() {
  const serverCertificateManager = new OPCUACertificateManager({
    rootFolder: folder,
    automaticallyAcceptUnknownCertificate: true,
  });
  await serverCertificateManager.initialize();
  const server = new OPCUAServer({
    port: Number(port),
    host: "127.0.0.1",
    hostname: "127.0.0.1",
    securityModes: [MessageSecurityMode.SignAndEncrypt],
    securityPolicies: [SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss],
    disableDiscovery: false,
    allowAnonymous: true,
    serverCertificateManager,
    serverCapabilities: { operationLimits: { maxNodesPerRead: 2, maxMonitoredItemsPerCall: 1 } },
    userManager: { isValidUser: (name, password) => name === "edge" && password === "s3cret" },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const namespace = space.getOwnNamespace();
  const add = (name, dataType, value) =>
    namespace.addVariable({
      nodeId: "s=" + name, browseName: name, dataType, organizedBy: space.rootFolder.objects,
      value: new Variant({ dataType, value }),
    });
  const counter = add("counter", DataType.UInt32, 0);
  add("soc", DataType.Double, 0.5);
  add("ship", DataType.String, "AURELIE");
  space.installHistoricalDataNode(counter, { maxOnlineValues: 1000 });
  let count = 0;
  setInterval(() => counter.setValueFromSource(new Variant({ dataType: DataType.UInt32, value: ++count })), 50);
  await server.start();
  console.log("ready " + server.getEndpointUrl() + " namespace " + namespace.index);
}

main().catch((error) => {
  console.log("failed " + error.stack);
  process.exit(1);
});
