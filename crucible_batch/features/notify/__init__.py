"""Messages about starts and ends of runs, to the channels under ``notify`` of a manifest.

messages           the event of a run's end, by its exit code, and the content: JSON and text
sources            addresses and secrets from the environment and files
subscriptions      the manifest's entries to channels, or to problems
  http_channels    heartbeats and signed webhooks
  command_channel  a program that reads the message from stdin
  apprise_channel  Apprise, which is optional
delivery           one message to all channels: retries, limits of time, results
"""
