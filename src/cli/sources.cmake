# The program's files, relative to src/; read by src/CMakeLists.txt.
set(costeer_cli_sources
  cli/main.c cli/options.c cli/nearest.c cli/message.c cli/signals.c cli/text.c cli/json.c
  cli/help.c cli/help_man.c cli/help_markdown.c cli/help_bash.c
  cli/settings.c cli/settings_cloud.c cli/methods.c cli/inputs.c cli/messages.c cli/templates.c cli/pair.c cli/progress.c cli/token.c cli/remote.c cli/setup.c cli/use.c cli/use_record.c cli/answer.c cli/report.c cli/report_words.c cli/disclosed.c
  cli/trace.c cli/terminal.c cli/wrap.c cli/render_compare.c
  cli/cmd_chat.c cli/chat.c cli/chat_commands.c cli/line.c
  cli/cmd_generate.c cli/cmd_compare.c cli/cmd_prompt.c cli/cmd_select.c cli/cmd_score.c cli/cmd_policy.c cli/cmd_model.c cli/cmd_vocab.c cli/cmd_node.c
  cli/cmd_bench.c cli/cmd_bench_batch.c cli/cmd_bench_net.c cli/render_bench_net.c
  cli/cmd_eval.c cli/cmd_eval_options.c cli/cmd_eval_describe.c cli/cmd_eval_folder.c cli/cmd_eval_progress.c
  cli/cmd_eval_rows.c cli/cmd_eval_table.c cli/cmd_eval_use.c
  cli/cmd_report.c cli/cmd_audit.c cli/audit_file.c cli/audit_show.c cli/audit_words.c cli/audit_parts.c cli/overlap.c
  cli/hub.c cli/cmd_pull.c cli/cmd_models.c cli/cmd_version.c cli/cmd_help.c)
# What `costeer bench` measures with, relative to bench/.
set(costeer_bench_sources bench_stats.c fuse_bench.c model_bench.c batch_bench.c
  net_bench.c net_meter.c net_node.c net_predict.c net_prompts.c net_run.c net_sessions.c)
