"""Chats as chat templates write them, by transformers: tests/reference/chat.json. `--check` compares instead of writing.

    python tests/reference/chat.py [MODELS]

The templates of the two real models are taken from the GGUF files in the folder MODELS, else from chat.json itself. The others
are written for this test, after those of Llama 2, Llama 3, Zephyr and Qwen3.
"""

import json
import pathlib
import sys

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

PATH = pathlib.Path(__file__).with_suffix(".json")

REAL = {
    "SmolLM2-135M-Instruct": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "Qwen2.5-Coder-0.5B-Instruct": "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
}

OWN = {
    "like Llama 2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "like Llama 3": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- The system message, if there is one. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today: " + date_string | default("26 Jul 2024") + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "like Zephyr": """{% for message in messages %}
    {% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
    {% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
    {% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
    {% endif %}
    {% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
    {% endif %}
{% endfor %}
""",
    "like Qwen3": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{{- [messages[0], ns.last_query_index] | tojson }}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
}

CHATS = [
    [("user", "What is the capital of France?")],
    [("system", "Be brief."), ("user", "  Hi, I'm \"Ann\" & <Bob>.\n")],
    [("system", " Réponds en français. "), ("user", "你好 🙂"), ("assistant", "<think>\nHm.\n</think>\n\nBonjour !"), ("user", "{{ 1 + 1 }}")],
    [("user", "One"), ("user", "Two")],
    [("user", "")],
]


def real(name, file):
    if len(sys.argv) < 2 or sys.argv[1] == "--check":
        return next(t for t in json.loads(PATH.read_text())["templates"] if t["name"] == name)
    import gguf

    reader = gguf.GGUFReader(pathlib.Path(sys.argv[1]) / file)
    tokens = reader.fields["tokenizer.ggml.tokens"]
    text = lambda kind: tokens.contents(reader.fields[f"tokenizer.ggml.{kind}_token_id"].contents())
    template = reader.fields["tokenizer.chat_template"].contents()
    return {"file": file, "template": template, "bos_token": text("bos"), "eos_token": text("eos")}


def main():
    chats = [[{"role": role, "content": content} for role, content in chat] for chat in CHATS]
    cases = [{"name": name, **real(name, file)} for name, file in REAL.items()]
    for name, template in OWN.items():
        cases.append({"name": name, "file": None, "template": template, "bos_token": "<s>", "eos_token": "</s>"})
    for case in cases:
        tokens = {key: case[key] for key in ("bos_token", "eos_token")}
        case["texts"] = []
        for chat in chats:
            try:
                texts, _ = render_jinja_template([chat], chat_template=case["template"], add_generation_prompt=True, **tokens)
                case["texts"].append(texts[0])
            except jinja2.TemplateError:
                case["texts"].append(None)
    text = json.dumps({"chats": chats, "templates": cases}, indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        assert json.loads(PATH.read_text()) == json.loads(text), f"{PATH} is not what this script makes"
    else:
        PATH.write_text(text)


main()
