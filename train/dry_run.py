def dry_run(config, workdir): raise NotImplementedError
