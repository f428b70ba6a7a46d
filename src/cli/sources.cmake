# The program's files, relative to src/; read by src/CMakeLists.txt.
set(costeer_cli_sources
  cli/main.c cli/options.c cli/nearest.c cli/message.c cli/signals.c cli/text.c cli/json.c
  cli/help.c cli/help_man.c cli/help_markdown.c cli/help_bash.c
  cli/settings.c cli/inputs.c cli/pair.c cli/answer.c cli/trace.c cli/terminal.c cli/wrap.c cli/render_compare.c
  cli/cmd_generate.c cli/cmd_compare.c cli/cmd_score.c cli/cmd_policy.c cli/cmd_model.c cli/cmd_bench.c
  cli/cmd_version.c cli/cmd_help.c)
