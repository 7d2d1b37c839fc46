"""What simulated machines do: waves, a programme for the shift, recorded series, and what goes wrong."""
