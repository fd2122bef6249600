"""Turn bytes into values and back: RESP, INFO, hellos, `sentinel.conf`. Pure: no IO."""
