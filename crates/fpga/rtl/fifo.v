// A first-in first-out buffer with a register behind its memory.
module fifo #(
    parameter WIDTH = 8,
    parameter LOG = 9
) (
    input clk,
    input rst,
    input in_valid,
    output in_ready,
    input [WIDTH-1:0] in_data,
    output reg out_valid,
    input out_ready,
    output reg [WIDTH-1:0] out_data,
    output [LOG:0] fill  // of the memory
);
    reg [WIDTH-1:0] words[0:(1<<LOG)-1];
    reg [LOG:0] head, tail;
    assign fill = head - tail;
    assign in_ready = !fill[LOG];
    wire take = (!out_valid | out_ready) & fill != 0;
    always @(posedge clk) begin
        if (in_valid & in_ready) begin
            words[head[LOG-1:0]] <= in_data;
            head <= head + 1'b1;
        end
        if (take) begin
            out_data <= words[tail[LOG-1:0]];
            tail <= tail + 1'b1;
        end
        out_valid <= take | (out_valid & !out_ready);
        if (rst) begin
            head <= 0;
            tail <= 0;
            out_valid <= 0;
        end
    end
endmodule
