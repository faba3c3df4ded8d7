"""Which account a command is for: the options, and the client they give.

The options are those of `swift` and `openstack`.  Each stands for a variable,
and the SDK reads variables only (client/login.py), so that a script says the
same by its environment.  With `--env-file` the variables are those of the file
alone.
"""

from __future__ import annotations

import argparse
import os

from zerocloud.client import Client, log_in, read_env_file

LOGIN_HELP = """\
the account is that of the first of these that is given:
  --os-cloud NAME, an entry of clouds.yaml
  OS_STORAGE_URL and OS_AUTH_TOKEN
  ST_AUTH, ST_USER and ST_KEY
  OS_CLOUD, an entry of clouds.yaml
  OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, … (Keystone)
Keystone and clouds.yaml need: pip install 'zerocloud[keystone]'
"""
_OPTIONS = {
    "os_region_name": "OS_REGION_NAME",
    "os_interface": "OS_INTERFACE",
    "os_cacert": "OS_CACERT",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of an account to a command."""
    add = parser.add_argument_group("account").add_argument
    add(
        "--env-file",
        metavar="FILE",
        help="take all variables from FILE (DIR/env of a cluster)",
    )
    add(
        "--os-cloud",
        metavar="NAME",
        help="a cloud of clouds.yaml, before all other credentials",
    )
    add(
        "--os-region-name",
        metavar="NAME",
        help="its region, where there are several [OS_REGION_NAME]",
    )
    add(
        "--os-interface",
        metavar="KIND",
        choices=("public", "internal", "admin"),
        help="which endpoint: public (default), internal or admin "
        "[OS_INTERFACE]",
    )
    add(
        "--os-cacert",
        metavar="FILE",
        help="trust the authorities in FILE for HTTPS [OS_CACERT]",
    )
    add(
        "--insecure",
        action="store_true",
        help="do not check the certificates of HTTPS [OS_INSECURE]",
    )


def client_of(args: argparse.Namespace) -> Client:
    """Log in as the options and the environment say; LoginError and so on."""
    given = dict(read_env_file(args.env_file) if args.env_file else os.environ)
    for option, variable in _OPTIONS.items():
        if value := getattr(args, option):
            given[variable] = value
    if args.insecure:
        given["OS_INSECURE"] = "true"
    return Client(log_in(given, cloud=args.os_cloud))
