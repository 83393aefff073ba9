import asyncio, sys, tempfile, time
from pathlib import Path
from chaos.system import running
from chaos import journal
async def main():
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    print(folder)
    t=time.monotonic()
    async with running(folder) as system:
        print("up", time.monotonic()-t)
        import psutil
        await asyncio.sleep(5)
        procs={c.name: psutil.Process(c._process.pid) for c in (*system.children(), system.sim)}
        procs["influx"]=psutil.Process(system.influx._child.pid)
        procs["broker"]=psutil.Process(system.broker._child.pid); procs["driver"]=psutil.Process()
        for p in procs.values(): p.cpu_percent()
        await asyncio.sleep(10)
        for n,p in procs.items(): print(n, p.cpu_percent(), p.memory_info().rss>>20)
        t=time.monotonic()
        a=system.gateways["gw-a"].agent; a.kill(); await asyncio.sleep(8); print(a.deaths)
        await system.settle(60)
        print("settled", time.monotonic()-t)
        for g in system.gateways.values():
            j=journal.read(g.spool,g.owner); print(g.name,j.tally,len(j.rows),j.missing)
asyncio.run(main())
