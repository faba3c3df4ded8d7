"""The `zerocloud` command line, one file per subcommand."""
