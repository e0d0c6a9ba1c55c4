"""The device floor: features, engines and the streaming recogniser; numpy and one interpreter."""
