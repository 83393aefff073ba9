import asyncio, sys, tempfile, time, random
from pathlib import Path
from contextlib import closing
from chaos.system import running
from chaos import journal, oracle
from gateway.book import Book
from gateway.store import open_store
from servers.influx import TOKEN
async def main():
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    print(folder)
    t=time.monotonic()
    async with running(folder) as system:
        print("up", time.monotonic()-t)
        r=random.Random(1)
        for i in range(8):
            await asyncio.sleep(r.uniform(1,3))
            r.choice(system.children()).kill()
        await asyncio.sleep(6)
        await system.settle(60)
        print("settled", time.monotonic()-t)
        with closing(open_store(system.influx.access.store_url("chaos"), token=TOKEN)) as store, closing(Book(folder/"disk/book.db")) as book:
          for g in system.gateways.values():
            j=journal.read(g.spool,g.owner); print(g.name,j.tally,len(j.rows),j.missing)
            loaded=oracle.load(g.folder)
            held=oracle.held_rows(store,loaded)
            v=oracle.judge_ledger(g.name,j,held,book.refused())
            oracle.judge_computations(v,j,loaded)
            deaths=[(system.simulated_ns(a),system.simulated_ns(b)) for a,b in g.agent.deaths]
            oracle.judge_coverage(v,held,[d.name for d in loaded.site.device if d.meter],deaths)
            print(v)
        print("judged", time.monotonic()-t)
asyncio.run(main())
