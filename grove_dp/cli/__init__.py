"""The command `grove-dp`: one file per subcommand, imported only when it is asked for."""
