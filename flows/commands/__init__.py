"""What each subcommand of `midime` asks for and prints; the answers are made elsewhere."""
