"""Serve visdom on this machine, with a page that shows its windows, online or offline.

python -m tools.visdom_server

Then train with --visdom.server localhost and open http://127.0.0.1:8097; Ctrl-C ends the server and
saves the windows in --env-path. visdom's package holds only a part of its page. The first start
fetches the rest from npm's registry (or that in $NPM_CONFIG_REGISTRY), in seconds, and keeps the
page in ~/.cache/wsddn-localizer (or in $XDG_CACHE_HOME); for a machine without internet access, run
this with --save-assets DIR on another machine, copy DIR, and start with --assets DIR.
"""

from tools.cli.command import Command
from tools.visdom_page.settings import VisdomServerSettings

main = Command("visdom_server", VisdomServerSettings, "tools.visdom_page.serve", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
