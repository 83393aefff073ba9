// A Modbus TCP server on modbus-serial, for tests: register n of both tables holds 3 n + 7, coil n is set where
// n % 3 == 0. node modbus_serve.js PORT UNIT; prints "ready PORT" and serves until it is killed.
const { ServerTCP } = require(process.env.PEERS + "/node_modules/modbus-serial");
const [port, unit] = process.argv.slice(2).map(Number);
const word = (n) => (3 * n + 7) & 0xffff;
const bit = (n) => n % 3 === 0;
const server = new ServerTCP(
  { getHoldingRegister: word, getInputRegister: word, getCoil: bit, getDiscreteInput: bit },
  { host: "127.0.0.1", port, unitID: unit, debug: false },
);
server.on("initialized", () => console.log(`ready ${port}`));
server.on("socketError", () => {});
server.on("serverError", (error) => {
  console.error(error.message);
  process.exit(4);
});
