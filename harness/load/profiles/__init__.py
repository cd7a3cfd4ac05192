"""Built-in load profiles, one file each; `harness.load.profile.PROFILES` lists them."""
