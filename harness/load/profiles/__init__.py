"""Built-in load profiles, one file each; `harness.model.profiles.PROFILES` lists them."""
