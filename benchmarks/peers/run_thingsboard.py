"""Starts thingsboard-gateway without its look-up of new versions. Runs in its environment, not in ours."""

from thingsboard_gateway.tb_gateway import main
from thingsboard_gateway.tb_utility.tb_updater import TBUpdater

TBUpdater.check_for_new_version = lambda self: None
main()
