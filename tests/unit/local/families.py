"""Chat templates in the manner of families that show tools themselves, in our words."""

from __future__ import annotations

# Tools in the system message, results in a user's, any number of calls with text beside them.
QWEN = r"""
{{- "<|im_start|>system\n" }}
{%- if messages[0].role == "system" %}
    {{- messages[0].content + "\n\n" }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- if tools %}
    {{- "These functions can be called: " }}
    {%- for tool in tools %}
        {{- "\n" + tool | tojson }}
    {%- endfor %}
    {{- "\nIn this way: <tool_call>{\"name\": ..., \"arguments\": ...}</tool_call>" }}
{%- endif %}
{{- "<|im_end|>\n" }}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {{- "<|im_start|>user\n<tool_response>\n" + message.content + "\n</tool_response>" }}
    {%- else %}
        {{- "<|im_start|>" + message.role + "\n" + message.content }}
        {%- for call in message.tool_calls %}
            {{- "\n<tool_call>\n{\"name\": \"" + call.function.name + "\", \"arguments\": " }}
            {{- call.function.arguments | tojson + "}\n</tool_call>" }}
        {%- endfor %}
    {%- endif %}
    {{- "<|im_end|>\n" }}
{%- endfor %}
{{- "<|im_start|>assistant\n" if add_generation_prompt }}
{{- "<think>\n\n</think>\n\n" if enable_thinking is defined and enable_thinking is false }}
"""
# As above, but without the text beside a call.
HERMES = QWEN.replace(
    '"\\n" + message.content }}\n        {%- for',
    '"\\n" + (message.content if not message.tool_calls else "") }}\n        {%- for',
)
# Tools in the first user message, one call in a message and no text with it.
LLAMA3 = r"""
{{- bos_token }}
{%- if messages[0].role == "system" %}
    {{- "<|start_header_id|>system<|end_header_id|>\n\n" + messages[0].content + "<|eot_id|>" }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {{- "<|start_header_id|>" + ("ipython" if message.role == "tool" else message.role) }}
    {{- "<|end_header_id|>\n\n" }}
    {%- if "tool_calls" in message %}
        {%- if message.tool_calls | length > 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- "{\"name\": \"" + call.name + "\", \"parameters\": " + call.arguments | tojson + "}" }}
    {%- else %}
        {%- if loop.first and tools %}
            {{- "Answer with JSON to call one of these: " }}
            {%- for tool in tools %}
                {{- tool | tojson(indent=4) + "\n\n" }}
            {%- endfor %}
        {%- endif %}
        {{- message.content | trim }}
    {%- endif %}
    {{- "<|eot_id|>" }}
{%- endfor %}
{{- "<|start_header_id|>assistant<|end_header_id|>\n\n" if add_generation_prompt }}
"""
_MISTRAL_HEAD = r"""
{{- bos_token }}
{%- set ns = namespace(count=0) %}
{%- if messages[0].role == "system" %}
    {%- set system = messages[0].content %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- set asked = messages | selectattr("role", "equalto", "user") | list %}
{%- for message in messages if message.role != "tool" and not message.tool_calls %}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("roles must alternate") }}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {%- if tools and message == asked[-1] %}
            {{- "[AVAILABLE_TOOLS]" + tools | tojson + "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {{- "[INST]" }}
"""
_MISTRAL_TAIL = r"""
    {%- else %}
        {{- message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""
# Tools before the last user message, the system text in it, but only if it is the last of all;
# strict turns, ids of nine characters.
MISTRAL = (
    _MISTRAL_HEAD
    + r"""
        {{- (system + "\n\n" if loop.last and system is defined else "") + message.content }}
        {{- "[/INST]" }}
    {%- elif message.tool_calls %}
        {{- "[TOOL_CALLS][" }}
        {%- for call in message.tool_calls %}
            {%- if call.id | length != 9 %}
                {{- raise_exception("ids have nine characters") }}
            {%- endif %}
            {{- (call.function | tojson)[:-1] + ", \"id\": \"" + call.id + "\"}" }}
            {{- ", " if not loop.last else "]" + eos_token }}
        {%- endfor %}
    {%- elif message.role == "tool" %}
        {%- set told = {"content": message.content, "call_id": message.tool_call_id} %}
        {{- "[TOOL_RESULTS]" + told | tojson }}
        {{- "[/TOOL_RESULTS]" }}
"""
    + _MISTRAL_TAIL
)
# The same family later: the system text has a place of its own, names stand before the arguments.
MISTRAL_ARGS = (
    _MISTRAL_HEAD.replace(
        "{%- for message in messages %}",
        '{{- "[SYSTEM_PROMPT]" + system + "[/SYSTEM_PROMPT]" if system is defined }}'
        "{%- for message in messages %}",
    )
    + r"""
        {{- message.content + "[/INST]" }}
    {%- elif message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- "[TOOL_CALLS]" + call.function.name + "[CALL_ID]" + call.id }}
            {{- "[ARGS]" + call.function.arguments | tojson }}
        {%- endfor %}
        {{- eos_token }}
    {%- elif message.role == "tool" %}
        {{- "[TOOL_RESULTS]" + message.tool_call_id + "[TOOL_CONTENT]" + message.content }}
        {{- "[/TOOL_RESULTS]" }}
"""
    + _MISTRAL_TAIL
)
# Channels; one call in a message, text with it is reasoning, and that is dropped later on.
HARMONY = r"""
{{- "<|start|>system<|message|>Valid channels: analysis, commentary, final.<|end|>" }}
{{- "<|start|>developer<|message|>" }}
{%- if messages[0].role == "system" %}
    {{- messages[0].content }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for tool in tools %}
    {{- "\n// " + tool.function.description + "\ntype " + tool.function.name + " = (_: {" }}
    {%- for name, value in tool.function.parameters.properties | items %}
        {{- "\n// " + value.description | default("") + "\n" + name }}
    {%- endfor %}
    {{- "\n}) => any;" }}
{%- endfor %}
{{- "<|end|>" }}
{%- set ns = namespace(name="") %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {{- "<|start|>functions." + ns.name + " to=assistant<|channel|>commentary<|message|>" }}
        {{- message.content | tojson }}
    {%- elif message.tool_calls %}
        {%- set ns.name = message.tool_calls[0].function.name %}
        {{- "<|start|>assistant to=functions." + ns.name }}
        {{- "<|channel|>commentary json<|message|>" }}
        {{- message.tool_calls[0].function.arguments | tojson + "<|call|>" }}
    {%- elif message.role == "assistant" %}
        {{- "<|start|>assistant<|channel|>final<|message|>" + message.content }}
    {%- else %}
        {{- "<|start|>user<|message|>" + message.content }}
    {%- endif %}
    {{- "<|end|>" if not message.tool_calls }}
{%- endfor %}
{{- "<|start|>assistant" if add_generation_prompt }}
"""
# Each with what it needs changed: calls singly, text apart, strict turns.
NATIVE: dict[str, tuple[str, str]] = {
    "qwen": (QWEN, ""),
    "hermes": (HERMES, "apart"),
    "llama3": (LLAMA3, "single apart"),
    "mistral": (MISTRAL, "apart strict"),
    "mistral-args": (MISTRAL_ARGS, "apart strict"),
    "harmony": (HARMONY, "single apart"),
}
