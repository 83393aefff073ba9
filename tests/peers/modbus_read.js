// Reads registers with modbus-serial and prints what it got, one JSON object a request.
// node modbus_read.js tcp|rtu-over-tcp HOST PORT UNIT TIMEOUT_MS ADDRESS,COUNT …
const Modbus = require(process.env.PEERS + "/node_modules/modbus-serial");
const [how, host, port, unit, timeout, ...reads] = process.argv.slice(2);

async function main() {
  const client = new Modbus();
  client.setTimeout(Number(timeout));
  const connect = how === "tcp" ? "connectTCP" : "connectTelnet";
  try {
    await client[connect](host, { port: Number(port) });
  } catch (error) {
    console.log(JSON.stringify({ error: error.code || error.message }));
    return;
  }
  client.setID(Number(unit));
  client.on("error", () => {});
  for (const read of reads) {
    const [address, count] = read.split(",").map(Number);
    try {
      const answer = await client.readHoldingRegisters(address, count);
      console.log(JSON.stringify({ data: answer.data }));
    } catch (error) {
      console.log(JSON.stringify({ error: error.message || error.name, code: error.modbusCode, kind: error.name }));
    }
  }
  client.close(() => process.exit(0));
}

main().then(() => setTimeout(() => process.exit(0), 200));
