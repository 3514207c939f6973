// A button on each terminal that copies what is typed there, and neither prompts nor output.
(() => {
    const copied = text => {
        if (navigator.clipboard) return navigator.clipboard.writeText(text);
        // Without https there is no clipboard to write to, but a selection can be copied.
        const area = document.createElement("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
        return Promise.resolve();
    };
    for (const terminal of document.querySelectorAll(".terminal")) {
        const lines = [...terminal.querySelectorAll("kbd:not(.key)")].map(line => line.textContent);
        const typed = lines.filter(line => line !== "").join("\n");
        if (!typed) continue;
        const button = document.createElement("button");
        button.className = "copy";
        button.type = "button";
        button.textContent = "Copy";
        button.title = "Copy what is typed";
        button.addEventListener("click", () => {
            const say = what => {
                button.textContent = what;
                setTimeout(() => { button.textContent = "Copy"; }, 1500);
            };
            copied(typed).then(() => say("Copied"), () => say("Not copied"));
        });
        terminal.append(button);
    }
})();
