"""What every command needs: parsing, signals, output on the terminal."""
