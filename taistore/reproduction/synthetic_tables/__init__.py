"""The tables of T2I-PAL, and the synthetic images behind them."""
